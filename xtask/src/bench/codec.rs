//! `cargo xtask bench codec`: how fast a core writes and reads updates, in bytes of f32 a second.

use super::Common;
use super::place::Place;
use super::race::median;
use super::table::table;
use super::worker::Worker;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// Codecs of `sync`.
const CODECS: usize = 4;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Turns of each; the median is told
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, None)?;
    let turns = asked.turns.to_string();
    let mut worker = Worker::start(
        "khub",
        &mut place.khub(&["codec", "--turns", &turns]),
        &place.logs(),
    )?;
    let lines: Result<Vec<Line>, String> = (0..CODECS).map(|_| worker.hear()).collect();
    let speeds = lines?.into_iter().map(Speed::of).collect();
    worker.finish()?;
    asked.common.print(&Report { codecs: speeds })
}

/// What khub tells of a codec: the seconds of each turn.
#[derive(Debug, Deserialize)]
struct Line {
    codec: String,
    weights: u64,
    bytes: u64,
    encode: Vec<f64>,
    encode_with_feedback: Vec<f64>,
    decode: Vec<f64>,
    outer_step: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    codecs: Vec<Speed>,
}

/// In GB/s of f32 on one core.
#[derive(Debug, Serialize)]
struct Speed {
    codec: String,
    bits_a_weight: f64,
    encode: f64,
    encode_with_feedback: f64,
    decode: f64,
    /// Of one site's update, with the digest.
    outer_step: f64,
}

impl Speed {
    fn of(line: Line) -> Self {
        let speed = |seconds: Vec<f64>| line.weights as f64 * 4.0 / 1e9 / median(seconds);
        Self {
            bits_a_weight: line.bytes as f64 * 8.0 / line.weights as f64,
            encode: speed(line.encode),
            encode_with_feedback: speed(line.encode_with_feedback),
            decode: speed(line.decode),
            outer_step: speed(line.outer_step),
            codec: line.codec,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "GB/s of f32 on one core",
            "bits a weight",
            "encode",
            "with feedback",
            "decode",
            "outer step",
        ];
        let mut rows = vec![head.map(String::from).to_vec()];
        for speed in &self.codecs {
            let mut row = vec![speed.codec.clone(), format!("{:.3}", speed.bits_a_weight)];
            let speeds = [
                speed.encode,
                speed.encode_with_feedback,
                speed.decode,
                speed.outer_step,
            ];
            row.extend(speeds.map(|speed| format!("{speed:.2}")));
            rows.push(row);
        }
        f.write_str(table(&rows).trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_gigabytes_a_second() {
        let line = r#"{"codec":"int4","weights":1000000000,"bytes":500000000,"encode":[1,9,2],
                       "encode_with_feedback":[4],"decode":[0.5],"outer_step":[8]}"#;
        let speed = Speed::of(serde_json::from_str(line).unwrap());
        let speeds = [
            speed.encode,
            speed.encode_with_feedback,
            speed.decode,
            speed.outer_step,
        ];
        assert_eq!((speeds, speed.bits_a_weight), ([2.0, 1.0, 8.0, 0.5], 4.0));
        let report = Report { codecs: vec![speed] }.to_string();
        assert!(report.lines().last().unwrap().starts_with("int4"), "{report}");
    }
}
