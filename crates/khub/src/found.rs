//! `khub found`: a consortium from a file, and the example that the quickstart works with.

use crate::failure::Failure;
use crate::folder::Folder;
use crate::form::Form;
use crate::serve::hub_config;
use crate::show;
use consortium::watch::Terms;
use consortium::{Award, Command, Holder, Organisation, Person, Project, Site, Won};
use serde::Deserialize;
use server::Hub;
use std::path::PathBuf;
use store::Place;

/// Found a consortium in a data folder: organisations, people, sites, projects, money.
///
/// Run again with more in the file, it adds what is new; nothing that is there changes. Every person and
/// site gets a credential in the folder, which is for the programme office to hand out.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub found --example > consortium.toml\n  khub found consortium.toml --folder /srv/khub\n  \
    khub serve --folder /srv/khub"
)]
pub(crate) struct Args {
    #[command(flatten)]
    form: Form,
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", default_value = "khub-data")]
    folder: PathBuf,
    /// Keep the log in this PostgreSQL database instead of the folder.
    #[arg(long, env = "KHUB_DATABASE", hide_env_values = true, value_name = "URL")]
    database: Option<Place>,
}

/// The file that the quickstart's consortium is founded from.
const EXAMPLE: &str = include_str!("../example.toml");

/// Who and what a consortium begins with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct Founding {
    organisations: Vec<Organisation>,
    people: Vec<Person>,
    pub(crate) sites: Vec<Site>,
    projects: Vec<Project>,
    appropriations: Vec<Appropriation>,
    awards: Vec<Award>,
    watch: Option<Terms>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Appropriation {
    year: u16,
    won: Won,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Some(founding) = args.form.filled(EXAMPLE, Founding::parse)? else {
        return Ok(());
    };
    let folder = Folder(args.folder.clone());
    let hub = Hub::start(&hub_config(&args.folder, args.database.as_ref()))?;
    founding.carry_out(&hub, &folder)?;
    let credentials = folder.path("credentials");
    show::print(&format!(
        "founded; credentials are in {}\n",
        credentials.display()
    ));
    Ok(())
}

impl Founding {
    /// The quickstart's consortium.
    pub(crate) fn example() -> Self {
        Self::parse(EXAMPLE).expect("the example is founded in a test")
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())
    }

    /// Founds it in `hub`, each command under a key of its own, and puts everyone's credential in `folder`.
    pub(crate) fn carry_out(&self, hub: &Hub, folder: &Folder) -> Result<(), Failure> {
        for (key, command) in self.commands() {
            hub.ask(&format!("found {key}"), command)?;
        }
        for person in &self.people {
            folder.credential(hub, person.id.as_str(), Holder::Person(person.id.clone()))?;
        }
        for site in &self.sites {
            folder.credential(hub, site.id.as_str(), Holder::Site(site.id.clone()))?;
        }
        Ok(())
    }

    /// In an order in which each finds what it names.
    fn commands(&self) -> Vec<(String, Command)> {
        let mut commands = Vec::new();
        let mut add = |noun: &str, name: &dyn std::fmt::Display, command| {
            commands.push((format!("{noun} {name}"), command));
        };
        for it in &self.organisations {
            add("organisation", &it.id, Command::Admit(it.clone()));
        }
        for it in &self.people {
            add("person", &it.id, Command::AddPerson(it.clone()));
        }
        for it in &self.sites {
            add("site", &it.id, Command::AddSite(it.clone()));
        }
        for it in &self.projects {
            add("project", &it.id, Command::OpenProject(it.clone()));
        }
        for &Appropriation { year, won } in &self.appropriations {
            add("appropriation", &year, Command::Appropriate { year, won });
        }
        for it in &self.awards {
            add("award", &it.id, Command::Grant(it.clone()));
        }
        if let Some(terms) = self.watch {
            add("watch", &"terms", Command::SetWatch(Some(terms)));
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use server::HubConfig;

    #[test]
    fn the_example_can_be_founded_and_founded_again() {
        let folder = std::env::temp_dir().join(format!("khub-found-{}", std::process::id()));
        let hub = Hub::start(&HubConfig::new(&folder)).unwrap();
        let home = Folder(folder.clone());
        Founding::example().carry_out(&hub, &home).unwrap();
        let tokens: Vec<String> = ["office", "minji", "ingrid"]
            .map(|name| home.token(name).unwrap())
            .into();
        Founding::example().carry_out(&hub, &home).unwrap();
        assert_eq!(
            tokens,
            ["office", "minji", "ingrid"].map(|name| home.token(name).unwrap())
        );
        drop(hub);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_misspelt_word_is_shown_where_it_stands() {
        let error = Founding::parse("[[sites]]\nid = 'a'\nowner = 'b'\ntenure = 'rent'")
            .err()
            .unwrap();
        assert!(error.contains("line 4") && error.contains("rented"), "{error}");
        assert!(Founding::parse("site = []").is_err_and(|e| e.contains("unknown field `site`")));
    }
}
