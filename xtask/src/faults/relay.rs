//! Passes TCP connections on as a long and lossy way would: every segment is held for the delay, and a lost one
//! until it would have come again; what follows it waits behind it, as TCP has it.

use super::Dice;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A segment, as an Ethernet carries it.
const SEGMENT: usize = 1_448;
/// So many may be on their way.
const WINDOW: usize = 256;
/// The least time until a lost segment is sent again (Linux).
const RESEND: Duration = Duration::from_millis(200);

/// Options of the relay.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to pass connections on to.
    #[arg(long)]
    to: SocketAddr,
    /// How long each way takes.
    #[arg(long)]
    delay_ms: u64,
    /// How many of a hundred segments are lost.
    #[arg(long)]
    loss_percent: f64,
}

/// Relays until it is killed.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let listener = TcpListener::bind(args.listen).map_err(|e| format!("{}: {e}", args.listen))?;
    let (delay, to) = (Duration::from_millis(args.delay_ms), args.to);
    let losses = (args.loss_percent * 10_000.0) as u64;
    for (i, near) in listener.incoming().enumerate() {
        let Ok(near) = near else { continue };
        std::thread::spawn(move || {
            // The handshake goes there and back.
            std::thread::sleep(2 * delay);
            // A connection that can't be made ends, as it would without a relay.
            let Ok(far) = TcpStream::connect_timeout(&to, Duration::from_secs(10)) else {
                return;
            };
            let pairs = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
            for (way, pair) in (0u64..).zip(pairs) {
                if let (Ok(from), Ok(to)) = pair {
                    pass(from, to, delay, losses, Dice(2 * i as u64 + way));
                }
            }
        });
    }
    Ok(())
}

/// One way of a connection, by two threads.
fn pass(mut from: TcpStream, to: TcpStream, delay: Duration, losses: u64, mut dice: Dice) {
    let (send, queue) = sync_channel(WINDOW);
    std::thread::spawn(move || deliver(&queue, to));
    std::thread::spawn(move || {
        let mut segment = [0; SEGMENT];
        let mut last = Instant::now();
        while let Ok(count @ 1..) = from.read(&mut segment) {
            let lost = dice.below(1_000_000) < losses;
            let resent = if lost { RESEND + 2 * delay } else { Duration::ZERO };
            last = last.max(Instant::now() + delay + resent);
            if hand_over(&send, last, &segment[..count]).is_none() {
                return;
            }
        }
    });
}

fn hand_over(send: &SyncSender<(Instant, Vec<u8>)>, due: Instant, bytes: &[u8]) -> Option<()> {
    send.send((due, bytes.to_vec())).ok()
}

fn deliver(queue: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, bytes) in queue {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // The other side may have hung up already.
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_later_and_in_order() {
        let far = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(near.local_addr().unwrap()).unwrap();
        let (from, _) = near.accept().unwrap();
        let to = TcpStream::connect(far.local_addr().unwrap()).unwrap();
        let (mut server, _) = far.accept().unwrap();
        let delay = Duration::from_millis(20);
        pass(from, to, delay, 20_000, Dice(1));
        let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let began = Instant::now();
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).unwrap();
        assert!(got == sent);
        assert!(began.elapsed() >= delay);
    }
}
