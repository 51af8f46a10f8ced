//! `khub bench codec`: how fast updates are written and read on one core.

use super::say;
use crate::failure::Failure;
use serde_json::json;
use std::time::Instant;
use sync::{Codec, Contribution, Outer, OuterConfig, Scale, Update, encode};

/// Updates written and read, by one thread.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Weights of the update.
    #[arg(long, default_value_t = 1 << 24)]
    weights: usize,
    /// Turns of each.
    #[arg(long, default_value_t = 9)]
    turns: usize,
}

/// A line for each codec: the seconds of every turn.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let delta: Vec<f32> = (0..args.weights as u64).map(change).collect();
    let mut outer = Outer::new(vec![0.0; delta.len()], OuterConfig::default());
    let mut place = vec![0.0; delta.len()];
    for codec in Codec::ALL {
        let mut residual = vec![0.0; delta.len()];
        let bytes = write(codec, &delta, None)?;
        let update = Update::parse(&bytes).map_err(Failure::new)?;
        let round = [Contribution {
            weight: 1,
            scale: Scale::WHOLE,
            update: &update,
        }];
        let (mut plain, mut feedback, mut read, mut step) = (vec![], vec![], vec![], vec![]);
        for _ in 0..args.turns {
            plain.push(seconds(|| write(codec, &delta, None))?);
            feedback.push(seconds(|| write(codec, &delta, Some(&mut residual)))?);
            read.push(seconds(|| {
                let update = Update::parse(&bytes).map_err(Failure::new)?;
                update.decode_into(&mut place);
                Ok(())
            })?);
            let all = 0..delta.len();
            step.push(seconds(|| outer.step(all, &round).map_err(Failure::new))?);
        }
        say(&json!({
            "codec": codec, "weights": delta.len(), "bytes": bytes.len(),
            "encode": plain, "encode_with_feedback": feedback, "decode": read, "outer_step": step,
        }))?;
    }
    Ok(())
}

fn write(codec: Codec, delta: &[f32], residual: Option<&mut [f32]>) -> Result<Vec<u8>, Failure> {
    encode(codec, delta, residual).map_err(Failure::new)
}

fn seconds<T>(turn: impl FnOnce() -> Result<T, Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    let done = turn()?;
    let seconds = start.elapsed().as_secs_f64();
    drop(done);
    Ok(seconds)
}

/// Many small changes and some large ones, as training makes them.
fn change(i: u64) -> f32 {
    let x = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let uniform = ((x ^ (x >> 29)) & 0xFF_FFFF) as f32 / 8_388_608.0 - 1.0;
    uniform.powi(3) * 1e-2
}
