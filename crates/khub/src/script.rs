//! A batch script as people have them: what it needs stands in `#SBATCH` lines, in sbatch's words, and what only khub
//! knows in `#KHUB` lines.
//!
//! ```sh
//! #!/bin/sh
//! #SBATCH --job-name=folds --account=korean-reviews --time=2:00:00
//! #SBATCH --gpus=a100:2 --array=0-9
//! #KHUB --label=open --retries=2 --due=12:00:00
//! python train.py --fold $KHUB_ARRAY_INDEX
//! ```

use consortium::{Batch, JobId, JobSpec, Label, ProjectId};
use std::path::Path;

/// Where it runs, how it is told and to whom: khub sees to that itself.
const MEANINGLESS: [&str; 14] = [
    "output",
    "error",
    "open-mode",
    "partition",
    "qos",
    "mail-type",
    "mail-user",
    "comment",
    "requeue",
    "no-requeue",
    "export",
    "mem",
    "cpus-per-task",
    "cpus-per-gpu",
];
const SHORT: [(&str, &str); 13] = [
    ("J", "job-name"),
    ("A", "account"),
    ("t", "time"),
    ("G", "gpus"),
    ("a", "array"),
    ("d", "dependency"),
    ("N", "nodes"),
    ("n", "ntasks"),
    ("o", "output"),
    ("e", "error"),
    ("p", "partition"),
    ("q", "qos"),
    ("c", "cpus-per-task"),
];

/// What a script asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) name: Option<String>,
    pub(crate) project: Option<ProjectId>,
    pub(crate) label: Option<Label>,
    pub(crate) minutes: Option<u32>,
    pub(crate) due: Option<u32>,
    pub(crate) gpus: Option<u32>,
    pub(crate) gpu: Option<String>,
    pub(crate) array: Vec<u32>,
    pub(crate) after: Vec<JobId>,
    pub(crate) retries: u32,
    pub(crate) image: Option<String>,
    /// Options that mean nothing here.
    pub(crate) ignored: Vec<String>,
}

/// Reads the option lines before the script's first command.
pub(crate) fn read(text: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let options = line
            .strip_prefix("#SBATCH")
            .or_else(|| line.strip_prefix("#KHUB"));
        let Some(options) = options else {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            break;
        };
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            if word.starts_with('#') {
                break; // a remark
            }
            take(&mut asked, word, &mut words).map_err(|why| format!("line {number}: {why}"))?;
        }
    }
    Ok(asked)
}

/// One option, with its value behind `=`, after a blank, or right behind a short name.
fn take<'a>(
    asked: &mut Asked,
    word: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let (name, mut value) = match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(long), _) => match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        },
        (None, Some(short)) if short.is_char_boundary(1) && short.len() > 1 => {
            (&short[..1], Some(short[1..].trim_start_matches('=')))
        }
        (None, Some(short)) => (short, None),
        (None, None) => return Err(format!("{word:?} is no option")),
    };
    let name = SHORT
        .iter()
        .find(|(short, _)| *short == name)
        .map_or(name, |(_, long)| long);
    let flag = matches!(name, "requeue" | "no-requeue");
    if value.is_none() && !flag {
        value = rest.next();
    }
    let value = value.unwrap_or_default().trim_matches(['"', '\'']);
    let wrong = || format!("--{name} takes no {value:?}");
    match name {
        "job-name" => asked.name = Some(value.to_owned()),
        "account" | "project" => asked.project = Some(value.parse().map_err(|_| wrong())?),
        "container" | "container-image" => asked.image = Some(value.to_owned()),
        "label" => asked.label = Some(crate::artifact::word(value)?),
        "retries" => asked.retries = value.parse().map_err(|_| wrong())?,
        "time" => asked.minutes = Some(minutes(value).ok_or_else(wrong)?),
        "due" => asked.due = Some(minutes(value).ok_or_else(wrong)?),
        "gpus" | "gpus-per-node" => gpus(asked, value).ok_or_else(wrong)?,
        "gres" => gpus(asked, value.strip_prefix("gpu:").ok_or_else(wrong)?).ok_or_else(wrong)?,
        "array" => asked.array = array(value).ok_or_else(wrong)?,
        "dependency" => asked.after = after(value).ok_or_else(wrong)?,
        "nodes" | "ntasks" | "ntasks-per-node" if value == "1" => {}
        "nodes" | "ntasks" | "ntasks-per-node" => {
            return Err(format!(
                "--{name}={value}: a batch job starts its script once, on one node"
            ));
        }
        _ if MEANINGLESS.contains(&name) => asked.ignored.push(format!("--{name}")),
        _ => return Err(format!("khub doesn't know --{name}; leave it out")),
    }
    Ok(())
}

impl Asked {
    /// The job of the script in `file`.
    pub(crate) fn spec(self, file: &Path, script: String) -> Result<JobSpec, String> {
        let name = || {
            file.file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        };
        let missing = |what: &str, how: &str| format!("it doesn't say {what}: {how}");
        Ok(JobSpec {
            name: self.name.unwrap_or_else(name),
            project: self
                .project
                .ok_or_else(|| missing("who pays", "add `#SBATCH --account=PROJECT`, or use --project"))?,
            program: String::new(),
            label: self.label.ok_or_else(|| {
                missing(
                    "how far its results may go",
                    "add `#KHUB --label=open`, or use --label",
                )
            })?,
            sites: 1,
            wall_minutes: self.minutes.ok_or_else(|| {
                missing(
                    "how long it takes",
                    "add `#SBATCH --time=1:00:00`, or use --minutes",
                )
            })?,
            gpus: Some(self.gpus.unwrap_or(1)),
            gpu: self.gpu,
            due_minutes: self.due,
            inputs: [].into(),
            rounds: consortium::RoundSpec::default(),
            settings: serde_json::Value::Null,
            batch: Some(Box::new(Batch {
                script,
                array: self.array,
                index: None,
                after: self.after,
                retries: self.retries,
                image: self.image,
            })),
        })
    }
}

/// As sbatch has it: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and so on;
/// rounded up.
fn minutes(value: &str) -> Option<u32> {
    let (days, rest) = match value.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, value),
    };
    let parts: Vec<u64> = rest
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    if parts.iter().chain(&days).any(|part| *part > 1_000_000) {
        return None;
    }
    let seconds = match (days, parts.as_slice()) {
        (None, [m]) => m * 60,
        (None, [m, s]) => m * 60 + s,
        (Some(_), [h]) => h * 3_600,
        (Some(_), [h, m]) => h * 3_600 + m * 60,
        (_, [h, m, s]) => h * 3_600 + m * 60 + s,
        _ => return None,
    };
    u32::try_from((days.unwrap_or(0) * 86_400 + seconds).div_ceil(60)).ok()
}

/// `2`, `a100` or `a100:2`.
fn gpus(asked: &mut Asked, value: &str) -> Option<()> {
    let (kind, count) = match value.split_once(':') {
        Some((kind, count)) => (Some(kind), count.parse().ok()?),
        None => match value.parse() {
            Ok(count) => (None, count),
            Err(_) => (Some(value), 1),
        },
    };
    if kind.is_some_and(str::is_empty) {
        return None;
    }
    asked.gpu = kind.map(str::to_owned);
    asked.gpus = Some(count);
    Some(())
}

/// `0-3,7,10-20:5`; how many run at once is the queue's business.
fn array(value: &str) -> Option<Vec<u32>> {
    let value = value.split_once('%').map_or(value, |(indices, _)| indices);
    let mut indices = Vec::new();
    for part in value.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last, step): (u32, u32, usize) =
            (first.parse().ok()?, last.parse().ok()?, step.parse().ok()?);
        if step == 0 || last < first || last - first > 100_000 {
            return None;
        }
        indices.extend((first..=last).step_by(step));
    }
    Some(indices)
}

/// `afterok:job-3:job-4`.
fn after(value: &str) -> Option<Vec<JobId>> {
    let jobs = value.strip_prefix("afterok:")?.split([':', ',']);
    jobs.filter(|job| *job != "afterok")
        .map(|job| job.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_what_it_needs() {
        let text = "#!/bin/sh\n#SBATCH --job-name=folds -A reviews --time=1-2:30 # a remark\n\
                    #SBATCH --gres=gpu:a100:2 -a 0-2,7 --dependency=afterok:job-3:job-4\n\
                    #SBATCH -o out.txt --container=/images/a.sif\n#KHUB --label=open --retries 2 --due=2-0\n\necho\n#SBATCH --nodes=9\n";
        let expected = Asked {
            name: Some("folds".into()),
            project: Some("reviews".parse().unwrap()),
            label: Some(Label::Open),
            minutes: Some(26 * 60 + 30),
            due: Some(2 * 24 * 60),
            gpus: Some(2),
            gpu: Some("a100".into()),
            array: vec![0, 1, 2, 7],
            after: vec![JobId(3), JobId(4)],
            retries: 2,
            image: Some("/images/a.sif".into()),
            ignored: vec!["--output".into()],
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_cannot_be_had_is_named_with_its_line() {
        for (line, why) in [
            (
                "--nodes=4",
                "line 2: --nodes=4: a batch job starts its script once, on one node",
            ),
            ("--time=soon", "line 2: --time takes no \"soon\""),
            ("--array=9-1", "line 2: --array takes no \"9-1\""),
            (
                "--burst-buffer=x",
                "line 2: khub doesn't know --burst-buffer; leave it out",
            ),
            ("word", "line 2: \"word\" is no option"),
        ] {
            assert_eq!(read(&format!("#!/bin/sh\n#SBATCH {line}\n")), Err(why.to_owned()));
        }
    }

    #[test]
    fn times_are_sbatchs() {
        for (text, expected) in [
            ("90", Some(90)),
            ("1:30", Some(2)),
            ("2:00:00", Some(120)),
            ("1-0", Some(1_440)),
            ("1-1:1:1", Some(1_502)),
            ("1:2:3:4", None),
            ("", None),
            ("99999999999", None),
        ] {
            assert_eq!(minutes(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_script_or_an_error(text in ".{0,200}", option in "-{0,2}[a-zA-Z=:0-9,%-]{0,20}") {
            let _ = read(&text);
            let _ = read(&format!("#SBATCH {option} {text}"));
        }
    }
}
