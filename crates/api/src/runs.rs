//! Runs, as khub's own tools read them.

use crate::client::{Answer, Client};
use consortium::{ProjectId, Run, RunId};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A run, as closed as it is now, with the newest of all that it measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// What the log has of it.
    #[serde(flatten)]
    pub run: Run,
    /// The newest point of each metric, in the order of their names.
    pub metrics: Vec<MetricView>,
}

/// A metric of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricView {
    /// Its name.
    pub key: String,
    /// How many points it has.
    pub points: u64,
    /// The one with the largest step.
    pub last: PointView,
}

/// A number at a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointView {
    /// The step.
    pub step: i64,
    /// When, milliseconds since 1970-01-01 UTC by the program's clock.
    pub at: i64,
    /// The number.
    pub value: Number,
}

/// A part of a metric's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// In the order of steps.
    pub points: Vec<PointView>,
    /// What to ask the next part after; none if this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Any number, also what JSON has no number for: `"NaN"`, `"Infinity"`, `"-Infinity"`.
#[derive(Debug, Clone, Copy)]
pub struct Number(pub f64);

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self(number)
    }
}

/// The same to the last bit.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.0 {
            n if n.is_nan() => "NaN".to_owned(),
            n if n == f64::INFINITY => "Infinity".to_owned(),
            n if n == f64::NEG_INFINITY => "-Infinity".to_owned(),
            n => n.to_string(),
        })
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.is_finite() {
            true => serializer.serialize_f64(self.0),
            false => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => return Ok(Self(number)),
            Written::Text(text) => text,
        };
        match text.as_str() {
            "NaN" => Ok(Self(f64::NAN)),
            "Infinity" => Ok(Self(f64::INFINITY)),
            "-Infinity" => Ok(Self(f64::NEG_INFINITY)),
            _ => Err(serde::de::Error::custom(format!("{text:?} is no number"))),
        }
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Any number, also what JSON has no number for.",
            "anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}],
        })
    }
}

impl Client {
    /// A project's runs that the bearer may read and of which `filter` holds, in an order; newest first without one.
    /// Both are in MLflow's words: `metrics.loss < 0.5`, `metrics.loss ASC`.
    pub fn runs(&self, project: &ProjectId, filter: &str, order: &str) -> Answer<Vec<RunView>> {
        let (filter, order) = (escaped(filter), escaped(order));
        let path = format!("/projects/{project}/runs?filter={filter}&order={order}");
        self.list(&path, "after", |it: &RunView| &it.run.id)
    }

    /// One run.
    pub fn run_of(&self, run: RunId) -> Answer<RunView> {
        self.get(&format!("/runs/{run}"))
    }

    /// All that a run measured under a name, in the order of steps.
    pub fn history(&self, run: RunId, key: &str) -> Answer<Vec<PointView>> {
        let path = format!("/runs/{run}/history?limit=1000&key={}", escaped(key));
        let mut points = Vec::new();
        let mut after = String::new();
        loop {
            let part: HistoryView = self.get(&format!("{path}{after}"))?;
            points.extend(part.points);
            match part.next {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(points),
            }
        }
    }

    /// About so many points of a history, evenly, up to a thousand.
    pub fn sampled(&self, run: RunId, key: &str, samples: u32) -> Answer<Vec<PointView>> {
        let path = format!("/runs/{run}/history?samples={samples}&key={}", escaped(key));
        let history: HistoryView = self.get(&path)?;
        Ok(history.points)
    }
}

/// Text behind a question mark.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.bytes().map(|b| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_json() {
        for number in [0.1, 3.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324] {
            let text = serde_json::to_string(&Number(number)).unwrap();
            assert_eq!(
                serde_json::from_str::<Number>(&text).unwrap(),
                Number(number),
                "{text}"
            );
        }
        assert_eq!(serde_json::from_str::<Number>("7").unwrap(), Number(7.0));
        assert!(serde_json::from_str::<Number>("\"seven\"").is_err());
    }
}
