//! Workloads in the Standard Workload Format: a line a job, 18 numbers a line, `;` before a comment.
//!
//! ```text
//! ; Group 1: language
//! 1 0 -1 1665 8 -1 -1 8 -1 -1 1 11 11 -1 -1 -1 -1 -1
//! ```
//!
//! Of the fields these are read: job number (1), submit time (2), run time (4), processors (5, else those
//! asked for, 8), requested time (9), user (12) and group (13); -1 stands for what isn't known.
//! Feitelson's archive describes the format: cs.huji.ac.il/labs/parallel/workload/swf.html.

use std::collections::BTreeMap;
use std::fmt;

/// How many numbers a job has.
const FIELDS: usize = 18;

/// A workload: its jobs by time of submission.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Trace {
    pub(crate) jobs: Vec<Traced>,
    /// What groups are called, where a comment says so.
    pub(crate) groups: BTreeMap<i64, String>,
    /// Jobs that never ran or took no processor: a workload's cancelled ones.
    pub(crate) skipped: usize,
}

/// A job as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traced {
    pub(crate) number: u64,
    /// Seconds since the workload began.
    pub(crate) submitted: u64,
    /// Seconds it really ran. No policy may know.
    pub(crate) ran: u64,
    pub(crate) gpus: u32,
    /// Seconds that its user asked for.
    pub(crate) requested: Option<u64>,
    pub(crate) user: i64,
    pub(crate) group: i64,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Trace {
    /// Reads a workload. Bytes that are no text are errors of their line, as letters are.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadLine> {
        let mut trace = Self::default();
        for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if let Some(comment) = line.strip_prefix(';') {
                trace.groups.extend(group_name(comment));
            } else if !line.is_empty() {
                let job = job(line).map_err(|what| BadLine { line: i + 1, what })?;
                match job {
                    Some(job) => trace.jobs.push(job),
                    None => trace.skipped += 1,
                }
            }
        }
        trace.jobs.sort_by_key(|job| (job.submitted, job.number));
        Ok(trace)
    }
}

/// `Group 3: physics`.
fn group_name(comment: &str) -> Option<(i64, String)> {
    let (number, name) = comment.trim().strip_prefix("Group ")?.split_once(':')?;
    Some((number.trim().parse().ok()?, name.trim().to_owned()))
}

fn job(line: &str) -> Result<Option<Traced>, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.len() != FIELDS {
        return Err(format!("{} fields, and a job has {FIELDS}", fields.len()));
    }
    let number = |field: usize, name: &str| {
        let text = fields[field - 1];
        let wrong = || {
            let text: String = text.chars().take(40).collect();
            format!("field {field} ({name}) is {text:?}, and a whole number is wanted")
        };
        text.parse::<i64>().map_err(|_| wrong())
    };
    // Far above any workload there is, and sums of them still fit.
    let known = |field, name| {
        let value = number(field, name)?;
        if value > MOST {
            return Err(format!(
                "field {field} ({name}) is {value}, and {MOST} is the most"
            ));
        }
        Ok(u64::try_from(value).ok())
    };
    let (id, submitted) = (known(1, "job number")?, known(2, "submit time")?);
    let (ran, requested) = (known(4, "run time")?, known(9, "requested time")?);
    let allocated = known(5, "allocated processors")?.filter(|n| *n > 0);
    let wanted = known(8, "requested processors")?.filter(|n| *n > 0);
    let (user, group) = (number(12, "user")?, number(13, "group")?);
    let gpus = allocated.or(wanted).and_then(|gpus| u32::try_from(gpus).ok());
    let (Some(ran), Some(gpus)) = (ran.filter(|ran| *ran > 0), gpus) else {
        return Ok(None);
    };
    Ok(Some(Traced {
        number: id.ok_or("field 1 (job number) is negative")?,
        submitted: submitted.ok_or("field 2 (submit time) is negative")?,
        ran,
        gpus,
        requested: requested.filter(|seconds| *seconds > 0),
        user,
        group,
    }))
}

/// The largest number a field may have: 30 years in seconds.
const MOST: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JOB: &str = "7 60 -1 1665 8 -1 -1 8 3600 -1 1 11 12 -1 -1 -1 -1 -1";

    #[test]
    fn a_job_is_read_and_a_comment_names_its_group() {
        let text = format!("; Version: 2.2\n;Group 12: language\r\n\n{JOB}\r\n");
        let trace = Trace::parse(text.as_bytes()).unwrap();
        let job = Traced {
            number: 7,
            submitted: 60,
            ran: 1_665,
            gpus: 8,
            requested: Some(3_600),
            user: 11,
            group: 12,
        };
        assert_eq!((trace.jobs, trace.groups[&12].as_str()), (vec![job], "language"));
    }

    #[test]
    fn cancelled_jobs_are_skipped_and_the_rest_is_sorted() {
        let lines = [
            JOB.replace("7 60", "9 90"),
            JOB.replace("1665", "-1"),
            JOB.replace(" 8 ", " -1 "),
            JOB.replace(" -1 1665 8", " -1 1665 -1"),
        ];
        let trace = Trace::parse(lines.join("\n").as_bytes()).unwrap();
        let numbers: Vec<u64> = trace.jobs.iter().map(|job| job.number).collect();
        assert_eq!((numbers, trace.skipped), (vec![7, 9], 2));
    }

    #[test]
    fn an_error_names_the_line_and_the_field() {
        let error = |line: &str| {
            Trace::parse(format!("; x\n{line}\n").as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error("1 2 3"), "line 2: 3 fields, and a job has 18");
        let wrong = error(&JOB.replace("1665", "1665s"));
        assert_eq!(
            wrong,
            "line 2: field 4 (run time) is \"1665s\", and a whole number is wanted"
        );
        let wrong = error(&JOB.replace("7 60", "-1 60"));
        assert_eq!(wrong, "line 2: field 1 (job number) is negative");
        assert!(error(&JOB.replace("1665", "99999999999")).contains("1000000000 is the most"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace_or_an_error(bytes in any::<Vec<u8>>()) {
            let _ = Trace::parse(&bytes);
        }

        #[test]
        fn any_numbers_are_a_trace_or_an_error(fields in prop::collection::vec(any::<i64>(), 17..20)) {
            let line: Vec<String> = fields.iter().map(ToString::to_string).collect();
            let _ = Trace::parse(line.join(" ").as_bytes());
        }
    }
}
