//! `khub members`: organisations from a CSV file, and an example of as many as the consortium has.

pub(crate) mod csv;
mod example;

use crate::artifact::word;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::OrganisationView;
use consortium::{Home, Kind, Organisation, OrganisationId, Standing};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Look at the organisations, and let many in at once.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(List),
    Import(Import),
    Standing(SetStanding),
    Example(Example),
}

/// Suspend an organisation, let it go, or have it back. Its people and sites do nothing while it isn't active.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  khub members standing fjord-institute suspended \\\n    \
    --ground 'decision 12 of the board' --as office"
)]
struct SetStanding {
    /// Which.
    organisation: OrganisationId,
    /// How it stands from now on: active, suspended or left.
    #[arg(value_parser = word::<Standing>)]
    standing: Standing,
    /// What that rests on: a letter, a decision, a contract.
    #[arg(long)]
    ground: String,
    #[command(flatten)]
    connect: Connect,
}

/// List the organisations.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub members list")]
struct List {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Let in the organisations of a CSV file, with the columns id, name, name_ko, kind and home.
///
/// All lines are checked before the first is let in. Those that are in already are passed over, so a file that
/// has grown can be imported again.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub members example > members.csv\n  khub members import members.csv --as office"
)]
struct Import {
    /// The file, in UTF-8.
    file: PathBuf,
    #[command(flatten)]
    connect: Connect,
}

/// Print 215 organisations as CSV: the consortium's real proportions, with invented names.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub members example --seed 7 > members.csv")]
struct Example {
    /// Other names.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Import(args) => import(args),
        Command::Standing(args) => {
            let client = args.connect.client()?;
            client.set_standing(&args.organisation, args.standing, &args.ground)?;
            show::print(&format!("{} is {}\n", args.organisation, args.standing));
            Ok(())
        }
        Command::Example(args) => {
            show::print(&example::csv(args.seed));
            Ok(())
        }
    }
}

fn list(args: &List) -> Result<(), Failure> {
    let organisations = args.connect.client()?.organisations()?;
    let row = |it: &OrganisationView| {
        let organisation = &it.organisation;
        vec![
            organisation.id.to_string(),
            organisation.name.clone(),
            organisation.name_ko.clone(),
            written(&organisation.kind),
            written(&organisation.home),
            it.standing.to_string(),
            it.ground.clone().unwrap_or_default(),
        ]
    };
    let head = ["id", "name", "name_ko", "kind", "home", "standing", "ground"];
    show::told(&organisations, args.json, |organisations| {
        let rows: Vec<Vec<String>> = organisations.iter().map(row).collect();
        show::table(&head, &rows)
    })
}

fn import(args: &Import) -> Result<(), Failure> {
    let text = std::fs::read(&args.file).map_err(|e| Failure::unread(&args.file, &e))?;
    let read = read(&text).map_err(|e| Failure::file(&args.file, e))?;
    let client = args.connect.client()?;
    let known = client.organisations()?;
    let known: BTreeMap<_, _> = known
        .iter()
        .map(|it| (&it.organisation.id, &it.organisation))
        .collect();
    let mut new = Vec::new();
    for organisation in &read {
        match known.get(&organisation.id) {
            None => new.push(organisation),
            Some(same) if *same == organisation => {}
            Some(_) => {
                let id = &organisation.id;
                return Err(Failure::file(
                    &args.file,
                    format_args!("organisation {id} is in already, and otherwise than the file has it"),
                )
                .hint("nothing was imported; take the line out, or make it what `khub members list` shows"));
            }
        }
    }
    for organisation in &new {
        client.admit(organisation)?;
    }
    let (new, old) = (new.len(), read.len() - new.len());
    show::print(&format!("{new} organisations let in, {old} were in already\n"));
    Ok(())
}

const COLUMNS: [&str; 5] = ["id", "name", "name_ko", "kind", "home"];

/// The 215 organisations of `khub members example`.
pub(crate) fn example(seed: u64) -> Vec<Organisation> {
    read(example::csv(seed).as_bytes()).expect("the example can be imported")
}

/// The organisations in `text`; the message says in which line something is wrong.
fn read(text: &[u8]) -> Result<Vec<Organisation>, String> {
    let mut rows = csv::rows(text)?.into_iter();
    let (_, head) = rows.next().ok_or("it is empty")?;
    let column = |name: &str| {
        let place = head.iter().position(|title| title.trim() == name);
        place.ok_or_else(|| {
            format!(
                "line 1: there is no column {name}; wanted are {}",
                COLUMNS.join(", ")
            )
        })
    };
    let mut columns = [0; COLUMNS.len()];
    for (place, name) in columns.iter_mut().zip(COLUMNS) {
        *place = column(name)?;
    }
    let mut seen = BTreeMap::new();
    let mut organisations = Vec::new();
    for (line, row) in rows {
        let cell = |i: usize| -> Result<&str, String> {
            let cell = row.get(columns[i]).map(|cell| cell.trim());
            let cell = cell.filter(|cell| !cell.is_empty());
            cell.ok_or_else(|| format!("line {line}: {} is missing", COLUMNS[i]))
        };
        let at = |e: &dyn std::fmt::Display| format!("line {line}: {e}");
        let organisation = Organisation {
            id: cell(0)?.parse().map_err(|e| at(&e))?,
            name: cell(1)?.to_owned(),
            name_ko: cell(2)?.to_owned(),
            kind: word::<Kind>(cell(3)?).map_err(|e| at(&e))?,
            home: word::<Home>(cell(4)?).map_err(|e| at(&e))?,
        };
        if let Some(first) = seen.insert(organisation.id.clone(), line) {
            return Err(format!("line {line}: {} is in line {first} too", organisation.id));
        }
        organisations.push(organisation);
    }
    Ok(organisations)
}

pub(crate) fn written(word: &impl serde::Serialize) -> String {
    let text = serde_json::to_value(word).ok();
    text.and_then(|text| text.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_has_the_consortiums_proportions() {
        for seed in 0..20 {
            let all = read(example::csv(seed).as_bytes()).unwrap();
            assert_eq!(all.len(), 215);
            let count = |kind, home: Option<Home>| {
                let of_kind = all.iter().filter(|it| it.kind == kind);
                of_kind
                    .filter(|it| home.is_none_or(|home| it.home == home))
                    .count()
            };
            let foreign = Some(Home::Foreign);
            assert_eq!(
                (count(Kind::University, None), count(Kind::University, foreign)),
                (57, 31)
            );
            assert_eq!(
                (count(Kind::Company, None), count(Kind::Company, foreign)),
                (119, 17)
            );
            assert_eq!(
                (count(Kind::Institute, None), count(Kind::Institute, foreign)),
                (18, 11)
            );
            assert_eq!((count(Kind::Public, None), count(Kind::Public, foreign)), (21, 0));
            let names: std::collections::BTreeSet<_> = all.iter().map(|it| &it.name).collect();
            assert_eq!(names.len(), 215);
        }
        assert_eq!(example::csv(3), example::csv(3));
        assert_ne!(example::csv(3), example::csv(4));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let head = "id,name,name_ko,kind,home\n";
        for (text, told) in [
            ("", "it is empty"),
            ("id,name,kind,home\n", "line 1: there is no column name_ko"),
            (
                "Gaon,G,가,university,domestic\n",
                "line 2: \"Gaon\" is no organisation",
            ),
            (
                "gaon,G,가,college,domestic\n",
                "line 2: unknown variant `college`",
            ),
            ("gaon,G,가,university\n", "line 2: home is missing"),
            (
                "a,A,가,public,domestic\na,A,가,public,domestic\n",
                "line 3: a is in line 2 too",
            ),
            ("a,\"A,가,public,domestic\n", "line 2: a quote isn't closed"),
        ] {
            let text = if text.is_empty() || text.starts_with("id") {
                text.to_owned()
            } else {
                format!("{head}{text}")
            };
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(told), "{error}");
        }
        assert!(read(b"id,\xff").is_err());
        // Columns in any order, more of them, the marks of other systems.
        let odd = "\u{feff}home,id,note,name_ko,kind,name\r\nforeign,b,\"x\ny\",나,company,\"B, \"\"Inc\"\"\"\r\n\r\n";
        assert_eq!(read(odd.as_bytes()).unwrap()[0].name, "B, \"Inc\"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&text);
            let _ = read(&[b"id,name,name_ko,kind,home\n", &text[..]].concat());
        }

        #[test]
        fn a_cell_comes_back_as_it_was_written(cells in proptest::collection::vec("[a-z,\"\r\n 가]{1,6}", 1..5)) {
            let line: Vec<String> = cells.iter().map(|cell| csv::cell(cell)).collect();
            let rows = csv::rows(format!("{}\n", line.join(",")).as_bytes()).unwrap();
            prop_assert_eq!(&rows[0].1, &cells);
        }
    }
}
