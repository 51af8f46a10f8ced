//! A program as a child process. It hears orders on its standard input and dies with it, so it never
//! outlives its site, however that ends.

use crate::SiteError;
use crate::edge::Word;
use crate::machine::Heard;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use sync::{Order, Said};

pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
}

impl Program {
    /// Starts `command NAME --folder DIR`; what it says arrives at `tell`, under its number.
    pub(crate) fn start(
        number: u64,
        command: &[OsString],
        name: &str,
        folder: &Path,
        threads: Option<usize>,
        tell: Sender<Word>,
    ) -> Result<Self, SiteError> {
        let (first, rest) = command
            .split_first()
            .expect("a site is configured with a command for programs");
        let mut starting = Command::new(first);
        starting.args(rest).arg(name).arg("--folder").arg(folder);
        starting
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        if let Some(threads) = threads {
            starting.env("RAYON_NUM_THREADS", threads.to_string());
        }
        let failed = |why| SiteError::File {
            path: first.into(),
            why,
        };
        let mut child = starting.spawn().map_err(failed)?;
        let input = child.stdin.take().expect("its standard input is piped");
        let output = child.stdout.take().expect("its standard output is piped");
        std::thread::spawn(move || listen(number, BufReader::new(output), &tell));
        Ok(Self { child, input })
    }

    /// Gives an order. A program that has ended doesn't hear it; its end is reported by itself.
    pub(crate) fn order(&mut self, order: &Order) {
        let _ = self
            .input
            .write_all(order.line().as_bytes())
            .and_then(|()| self.input.flush());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line that isn't the contract's is taken for a note: libraries print things.
fn listen(number: u64, mut output: impl BufRead, tell: &Sender<Word>) {
    let mut line = String::new();
    let how = loop {
        line.clear();
        match output.read_line(&mut line) {
            Ok(0) => break "it closed its output".to_owned(),
            Ok(_) => {
                let said = Said::read(&line).unwrap_or_else(|e| Said::Note {
                    message: e.to_string(),
                });
                if tell.send(Word::Heard(Heard::Said(number, said))).is_err() {
                    return;
                }
            }
            Err(error) => break format!("its output can't be read: {error}"),
        }
    };
    // The site may have stopped in the meantime.
    let _ = tell.send(Word::Heard(Heard::Ended(number, how)));
}
