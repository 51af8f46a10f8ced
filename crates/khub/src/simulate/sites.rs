//! The sites of a simulation, as TOML.

use consortium::queue::Machines;
use serde::Deserialize;
use std::collections::BTreeSet;

/// A file of sites.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    site: Vec<Site>,
}

/// One site.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    pub(crate) name: String,
    /// GPUs in all.
    pub(crate) gpus: u32,
    /// GPUs of a node; without it a job may take any of the site's.
    gpus_per_node: Option<u32>,
    /// Won for a GPU for an hour.
    #[serde(default)]
    pub(crate) price: u64,
    /// Whose it is.
    pub(crate) owner: Option<String>,
}

/// Reads sites; an error says what is wrong with which.
pub(crate) fn parse(text: &str) -> Result<Vec<Site>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.site.is_empty() {
        return Err("there is no site".into());
    }
    let mut names = BTreeSet::new();
    for site in &file.site {
        let name = &site.name;
        if name.is_empty() || !names.insert(name) {
            return Err(format!("site {name:?}: each site has a name of its own"));
        }
        if !(1..=MOST_GPUS).contains(&site.gpus) {
            return Err(format!("site {name:?}: gpus is {}; 1 to {MOST_GPUS}", site.gpus));
        }
        if site.price > MOST_WON {
            return Err(format!(
                "site {name:?}: price is {}; 0 to {MOST_WON} won",
                site.price
            ));
        }
        let each = site.gpus_per_node.unwrap_or(site.gpus);
        if each == 0 || site.gpus % each != 0 {
            return Err(format!(
                "site {name:?}: {} GPUs are no whole number of nodes of {each}",
                site.gpus
            ));
        }
    }
    Ok(file.site)
}

const MOST_GPUS: u32 = 1_000_000;
const MOST_WON: u64 = 1_000_000_000;

impl Site {
    /// Its machines, as placement sees them.
    pub(crate) fn machines(&self) -> Machines {
        let gpus = self.gpus_per_node.unwrap_or(self.gpus);
        Machines {
            nodes: self.gpus / gpus,
            gpus,
            kind: 0,
            price: self.price,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_flat_or_has_nodes() {
        let sites = parse(
            "[[site]]\nname='a'\ngpus=128\n[[site]]\nname='b'\ngpus=16\ngpus_per_node=8\nprice=3\nowner='x'",
        );
        let machines: Vec<Machines> = sites.unwrap().iter().map(Site::machines).collect();
        let (flat, nodes) = (machines[0], machines[1]);
        assert_eq!(
            (flat.nodes, flat.gpus, nodes.nodes, nodes.gpus, nodes.price),
            (1, 128, 2, 8, 3)
        );
    }

    #[test]
    fn what_is_wrong_is_said_of_which_site() {
        for (text, expected) in [
            ("", "there is no site"),
            ("[[site]]\nname='a'", "missing field `gpus`"),
            ("[[site]]\nname='a'\ngpus=0", "site \"a\": gpus is 0"),
            (
                "[[site]]\nname='a'\ngpus=12\ngpus_per_node=8",
                "no whole number of nodes of 8",
            ),
            (
                "[[site]]\nname='a'\ngpus=1\n[[site]]\nname='a'\ngpus=1",
                "a name of its own",
            ),
            ("[[sites]]", "unknown field `sites`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
