//! The steps of a private job: which masks are put on, lifted and summed up, and when.

use super::Stay;
use crate::machine::Do;
use crate::masks::lifted;
use consortium::{Command, Interval, Round, SiteId};
use sync::JobFolder;

impl Stay {
    /// The file that a site's update has on its way.
    pub(super) fn travels(&self, round: u32, site: &SiteId) -> String {
        match self.job.spec.rounds.is_private() {
            true => JobFolder::masked_file(round, site.as_str()),
            false => JobFolder::update_file(round, site.as_str()),
        }
    }

    /// What the updates of a private round come to, if that isn't here.
    pub(super) fn sum(&self, round: &Round) -> Option<Do> {
        let file = JobFolder::sum_file(round.number);
        if !self.job.spec.rounds.is_private() || round.updates.is_empty() || self.here.contains(&file) {
            return None;
        }
        let sites = round.updates.keys();
        let samples = sites.clone().filter_map(|site| round.members.get(site));
        Some(Do::Sum {
            job: self.job.id,
            masked: sites.map(|site| self.travels(round.number, site)).collect(),
            lifted: lifted(round),
            of: self.job.spec.rounds.samples,
            samples: samples.map(Interval::samples).sum(),
            file,
        })
    }

    /// First the masks, then the way.
    pub(super) fn send_masked(&self, round: u32, file: &str) -> Option<Do> {
        let masked = self.travels(round, &self.site);
        if self.here.contains(&masked) {
            return Some(self.send(&masked, false));
        }
        let open = self.job.open.iter().find(|open| open.number == round)?;
        Some(Do::Mask {
            job: self.job.id,
            round,
            site: self.site.clone(),
            keys: open.keys.clone(),
            file: file.to_owned(),
            masked,
        })
    }

    /// First the key, then the word.
    pub(super) fn tell_key(&self) -> Option<Do> {
        let job = self.job.id;
        let Some(key) = self.key else {
            return Some(Do::Key(job));
        };
        Some(Do::Ask(Command::TellKey {
            job,
            attempt: self.done.attempt?,
            key,
        }))
    }

    /// First what the masks are made from, then the word.
    pub(super) fn unmask(&self) -> Option<Do> {
        let (job, asked) = (self.job.id, self.job.unmask.as_ref()?);
        match &self.seeds {
            Some((of, seeds)) if of == asked => Some(Do::Ask(Command::Unmask {
                job,
                round: asked.round,
                attempt: self.done.attempt?,
                seeds: seeds.clone(),
            })),
            _ => Some(Do::Seeds(job, asked.clone())),
        }
    }
}
