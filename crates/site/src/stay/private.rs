//! The steps of a private job: which masks are put on, lifted and summed up, and when.

use super::Stay;
use crate::machine::Do;
use crate::masks::lifted;
use crate::step::is_private;
use consortium::{Command, Interval, Round, SiteId};
use sync::JobFolder;

impl Stay {
    /// The file that a site's update has on its way.
    pub(super) fn travels(&self, round: u32, site: &SiteId) -> String {
        match is_private(&self.job) {
            true => JobFolder::masked_file(round, site.as_str()),
            false => JobFolder::update_file(round, site.as_str()),
        }
    }

    /// What the updates of a private round come to, if that isn't here.
    pub(super) fn sum(&self, round: &Round) -> Option<Do> {
        let file = JobFolder::sum_file(round.number);
        if !is_private(&self.job) || round.updates.is_empty() || self.here.contains(&file) {
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
    pub(super) fn unmask(&mut self) -> Option<Do> {
        let asked = self.job.unmask.as_ref()?;
        let (job, round) = (self.job.id, asked.round);
        let told = self.seeds.clone();
        let told = told.filter(|seeds| seeds.with.keys().eq(asked.with.keys()) && self.seeds_of == round);
        let Some(seeds) = told else {
            self.seeds_of = round;
            let with = asked.with.clone();
            return Some(Do::Seeds { job, round, with });
        };
        Some(Do::Ask(Command::Unmask {
            job,
            round,
            attempt: self.done.attempt?,
            seeds,
        }))
    }
}
