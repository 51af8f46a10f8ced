//! A program that keeps the contract of [`sync::contract`] and trains a model for real, as small as one can
//! be: a linear regression, by gradient descent with momentum. Its updates, its account of what it has sent,
//! outer steps, losses and digests are those of the product's own code.
//!
//! Like a large program it keeps one checkpoint, replaced whole, and moments of its own that go back with an
//! update that did not count; and it answers an order that doesn't fit with a failure.

use crate::Bug;
use crate::dice::Dice;
use crate::disk::{Bytes, Disk};
use crate::foul::Foul;
use consortium::{Digest, RoundSpec};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use sync::contract::JobFile;
use sync::{
    Accepted, Came, Codec, Contribution, Fate, Findings, HeldOut, JobFolder, Local, Order, Outer,
    OuterConfig, Own, Said, Scale, Sent, Update, Written, fragments, inspect,
};

/// Weights, in three tensors: more than a block of the codec, and not whole blocks.
const TENSORS: [usize; 3] = [120, 100, 80];
const WEIGHTS: usize = 300;
/// Inputs of a sample that are one; all others are zero.
const ONES: usize = 24;
/// Samples of a step.
const BATCH: u64 = 4;
const RATE: f32 = 0.02;
const MOMENTUM: f32 = 0.5;
/// What of the held-out loss no model gets rid of, as in any real data: else one that is nearly right would be judged by
/// next to nothing.
const UNKNOWABLE: f64 = 100.0;

/// The program's own part of `job.toml`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The beginning is drawn from it.
    pub(crate) seed: u64,
}

/// What the program does next. A crash may come between any two.
#[derive(Debug)]
pub(crate) enum Act {
    /// Writes a file, whole.
    Write(String, Bytes),
    /// Says something.
    Say(Said),
}

pub(crate) struct Trainer {
    folder: String,
    job: JobFile<Settings>,
    data: u64,
    state: State,
    fresh: bool,
    bug: Option<Bug>,
    foul: Option<Foul>,
}

struct State {
    outer: Outer,
    /// The digest after each round.
    digests: Vec<String>,
    local: Local,
    moments: Vec<f32>,
    /// Of each update under way.
    trained: Vec<Trained>,
}

struct Trained {
    interval: (u64, u64),
    answer: Said,
    /// The moments before it.
    before: Vec<f32>,
}

impl Trainer {
    /// Begins, or goes on from the checkpoint in `folder`. An error is for [`Said::Failed`].
    pub(crate) fn start(
        disk: &Disk,
        folder: &str,
        bug: Option<Bug>,
        foul: Option<&Foul>,
    ) -> Result<(Self, Vec<Act>), String> {
        let read = |file: &str| disk.read(&format!("{folder}/{file}"));
        let text = read("job.toml").ok_or("job.toml is not there")?;
        let job = std::str::from_utf8(text).map_err(|e| e.to_string())?;
        let job: JobFile<Settings> = toml::from_str(job).map_err(|e| e.to_string())?;
        let mut data = 0;
        for (name, digest) in &job.inputs {
            let input = read(&format!("inputs/{name}")).ok_or_else(|| format!("{name} is not there"))?;
            let found = Digest::of(input);
            if found.to_string() != *digest {
                return Err(format!("{name} is damaged"));
            }
            data ^= u64::from_le_bytes(*found.0.first_chunk().expect("a digest has 32 bytes"));
        }
        let found = read("checkpoint/state").map(|bytes| State::load(bytes, job.rounds.codec));
        let mut said = Vec::new();
        if let Some(None) = found {
            let message = "the checkpoint is damaged; starting over".to_owned();
            said.push(Act::Say(Said::Note { message }));
        }
        let found = found.flatten();
        let trainer = Self {
            folder: folder.to_owned(),
            fresh: found.is_none(),
            state: found.unwrap_or_else(|| State::new(beginning(job.settings), Vec::new(), job.rounds.codec)),
            foul: foul.filter(|foul| foul.spoils(&job.name)).cloned(),
            job,
            data,
            bug,
        };
        said.push(trainer.ready());
        Ok((trainer, said))
    }

    /// Does as it was told. An error is for [`Said::Failed`].
    pub(crate) fn obey(&mut self, order: &Order, disk: &Disk) -> Result<Vec<Act>, String> {
        match order {
            Order::Train {
                round,
                first,
                end,
                codec,
            } => self.train(*round, (*first, *end), *codec, disk),
            Order::Commit { round, updates } => self.commit(*round, updates, disk),
            Order::Inspect {
                round,
                updates,
                held_out,
            } => self.inspect(*round, updates, held_out.as_ref(), disk),
            Order::Save { round } => self.save_agreed(*round),
            Order::Restore { round, file, outer } => self.restore(*round, file, outer, disk),
            Order::Finish => self.finish(),
        }
    }

    fn ready(&self) -> Act {
        Act::Say(Said::Ready {
            committed: self.state.committed(),
            outer: self.state.outer.digest(),
            fresh: self.fresh,
        })
    }

    fn train(
        &mut self,
        round: u32,
        (first, end): (u64, u64),
        codec: Option<Codec>,
        disk: &Disk,
    ) -> Result<Vec<Act>, String> {
        let committed = self.state.committed();
        if !(committed..=committed + self.job.rounds.overlap).contains(&round) {
            return Err(format!(
                "told to train round {round} when {committed} are applied"
            ));
        }
        let file = JobFolder::update_file(round, &self.job.site);
        if let Some(place) = self.state.local.place(round) {
            let trained = &self.state.trained[place];
            let bytes = disk.read(&self.path(&file));
            if trained.interval == (first, end) && bytes.is_some_and(|bytes| JobFolder::is_whole(bytes)) {
                return Ok(vec![Act::Say(trained.answer.clone())]);
            }
            self.state.local.undo(place);
            self.state.go_back(place);
        }
        let mut weights = self.state.local.params().to_vec();
        let before = self.state.moments.clone();
        let mut losses = Vec::new();
        for start in (first..end).step_by(BATCH as usize) {
            let batch = start..(start + BATCH).min(end);
            let batch = batch.map(|i| Sample::new(self.data, i));
            losses.push(step(&mut weights, &mut self.state.moments, batch));
        }
        let range = self.job.rounds.sends(round, &cuts(self.job.rounds.fragments));
        let state = &mut self.state;
        let form = self.job.rounds.form(codec, (first, end));
        let update = state.local.send(&state.outer, round, range, weights, form);
        let update = update.map_err(|e| e.to_string())?;
        let update = match &self.foul {
            Some(foul) => foul.spoil(update, round),
            None => update,
        };
        let answer = Said::Update {
            round,
            file: file.clone(),
            tokens: end - first,
            steps: losses.len() as u32,
            loss: losses.iter().sum::<f32>() / losses.len().max(1) as f32,
            parameters: WEIGHTS as u64,
        };
        state.trained.push(Trained {
            interval: (first, end),
            answer: answer.clone(),
            before,
        });
        // The state first: an update that lies there is the state's.
        Ok(vec![
            self.save(),
            Act::Write(self.path(&file), update.into()),
            Act::Say(answer),
        ])
    }

    fn commit(&mut self, round: u32, accepted: &[Accepted], disk: &Disk) -> Result<Vec<Act>, String> {
        let committed = self.state.committed();
        if round > committed {
            return Err(format!(
                "told to commit round {round} when {committed} are applied"
            ));
        }
        let mut acts = Vec::new();
        if round == committed {
            let updates = accepted.iter().map(|accepted| {
                let bytes = disk.read(&self.path(&accepted.file));
                let bytes = bytes.ok_or_else(|| format!("{} is not there", accepted.file))?;
                Update::parse(bytes).map_err(|e| format!("{}: {e}", accepted.file))
            });
            let updates: Vec<Update> = updates.collect::<Result<_, String>>()?;
            let whole = self.bug == Some(Bug::ForgetsScales);
            let round_of_all = accepted
                .iter()
                .zip(&updates)
                .map(|(accepted, update)| Contribution {
                    weight: accepted.tokens,
                    scale: if whole { Scale::WHOLE } else { accepted.scale },
                    update,
                });
            let round_of_all: Vec<Contribution<'_>> = round_of_all.collect();
            let counts = accepted.iter().any(|accepted| accepted.site == self.job.site);
            self.apply(round, &round_of_all, counts)?;
            acts.push(self.save());
        }
        acts.push(self.committed(round));
        Ok(acts)
    }

    fn inspect(
        &mut self,
        round: u32,
        came: &[Came],
        held_out: Option<&HeldOut>,
        disk: &Disk,
    ) -> Result<Vec<Act>, String> {
        let committed = self.state.committed();
        if round != committed {
            return Err(format!(
                "told to inspect round {round} when {committed} are applied"
            ));
        }
        let read = |came: &Came| {
            let bytes = disk.read(&self.path(&came.file));
            let bytes = bytes.ok_or_else(|| format!("{} is not there", came.file))?;
            Ok((came.site.clone(), bytes.to_vec()))
        };
        let came: Vec<(String, Vec<u8>)> = came.iter().map(read).collect::<Result<_, String>>()?;
        let samples = held_out.map_or(0, |held_out| held_out.samples);
        let mut loss = |weights: &[f32]| {
            let errors = (0..samples).map(|i| Sample::new(!self.data, i).error(weights));
            let squares: f64 = errors.map(|error| f64::from(error).powi(2) / 2.0).sum();
            Ok::<f64, String>(UNKNOWABLE + squares / samples as f64)
        };
        let range = self.job.rounds.sends(round, &cuts(self.job.rounds.fragments));
        let findings = inspect(&self.state.outer, range, came, Some(&mut loss))?;
        let Findings { before, found } = match &self.foul {
            Some(foul) => foul.tell(&self.job.site, findings),
            None => findings,
        };
        Ok(vec![Act::Say(Said::Inspected { round, before, found })])
    }

    fn apply(&mut self, round: u32, updates: &[Contribution<'_>], counts: bool) -> Result<(), String> {
        let range = self.job.rounds.sends(round, &cuts(self.job.rounds.fragments));
        let state = &mut self.state;
        let before = state.outer.clone();
        let fate = state
            .local
            .apply(&mut state.outer, round, range.clone(), updates, counts);
        match fate.map_err(|e| e.to_string())? {
            Fate::Absent => {}
            Fate::Counted(place) => drop(state.trained.remove(place)),
            Fate::Undone(place) => state.go_back(place),
        }
        if self.bug == Some(Bug::AddsInFloats) {
            state.outer = add_in_floats(&before, range, updates);
        }
        state.digests.push(state.outer.digest());
        Ok(())
    }

    fn committed(&self, round: u32) -> Act {
        let outer = self.state.digests[round as usize].clone();
        Act::Say(Said::Committed { round, outer })
    }

    fn save_agreed(&self, round: u32) -> Result<Vec<Act>, String> {
        let committed = self.state.committed();
        if round + 1 != committed {
            return Err(format!("told to save round {round} when {committed} are applied"));
        }
        let file = JobFolder::outer_file(round);
        let bytes = agreed(&self.state.digests, &self.state.outer);
        let said = Said::Saved {
            round,
            file: file.clone(),
        };
        Ok(vec![Act::Write(self.path(&file), bytes), Act::Say(said)])
    }

    fn restore(&mut self, round: u32, file: &str, outer: &str, disk: &Disk) -> Result<Vec<Act>, String> {
        if round < self.state.committed() {
            return Ok(vec![self.committed(round)]);
        }
        let bytes = disk
            .read(&self.path(file))
            .map(|bytes| &**bytes)
            .and_then(unsealed);
        let found = bytes.and_then(|bytes| {
            let (digests, mut numbers) = open::<Vec<String>>(bytes)?;
            let agreed = Outer::restored(
                numbers.take(WEIGHTS)?,
                numbers.take(WEIGHTS)?,
                OuterConfig::default(),
            );
            let right = digests.len() == round as usize + 1 && digests.last()? == outer;
            (right && agreed.digest() == outer).then_some((agreed, digests))
        });
        let Some((agreed, digests)) = found else {
            let message = format!("{file} can't be gone on from");
            return Ok(vec![Act::Say(Said::Note { message }), self.ready()]);
        };
        self.state = State::new(agreed, digests, self.job.rounds.codec);
        Ok(vec![self.save(), self.committed(round)])
    }

    fn finish(&self) -> Result<Vec<Act>, String> {
        let (committed, count) = (self.state.committed(), self.job.rounds.count);
        if committed < count {
            return Err(format!(
                "told to finish when {committed} of {count} rounds are applied"
            ));
        }
        let outputs = vec![Written {
            name: "model".into(),
            file: "outputs/model".into(),
            kind: "model".into(),
        }];
        let model = model(&self.state.outer);
        Ok(vec![
            Act::Write(self.path("outputs/model"), model),
            Act::Say(Said::Done { outputs }),
        ])
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    fn save(&self) -> Act {
        Act::Write(self.path("checkpoint/state"), self.state.save())
    }
}

/// The agreement before the first round.
pub(crate) fn beginning(settings: Settings) -> Outer {
    let mut dice = Dice::new(settings.seed);
    let weights = (0..WEIGHTS).map(|_| dice.below(1 << 10) as f32 / 4096.0);
    Outer::new(weights.collect(), OuterConfig::default())
}

/// The weights that a round sends, as the rules have it.
pub(crate) fn sends(rounds: &RoundSpec, round: u32) -> Range<usize> {
    match rounds.fragment(round) {
        None => 0..WEIGHTS,
        Some(fragment) => {
            let cuts = cuts(rounds.fragments);
            cuts[fragment as usize % cuts.len()].clone()
        }
    }
}

fn cuts(parts: u32) -> Vec<Range<usize>> {
    fragments(&TENSORS, parts as usize)
}

/// What all agree on, as it is kept for those who join later.
pub(crate) fn agreed(digests: &[String], outer: &Outer) -> Bytes {
    sealed(&digests, &[outer.params(), outer.momentum()])
}

/// The model's file.
pub(crate) fn model(outer: &Outer) -> Bytes {
    floats(outer.params()).into()
}

/// What a site must not do: the mean in floats, in an order of its own.
fn add_in_floats(outer: &Outer, range: Range<usize>, updates: &[Contribution<'_>]) -> Outer {
    let all: u64 = updates.iter().map(|update| update.weight).sum();
    let mut mean = vec![0.0; range.len()];
    for Contribution { weight, update, .. } in updates.iter().rev() {
        for (sum, change) in mean.iter_mut().zip(update.decode()) {
            *sum += *weight as f32 / all as f32 * change;
        }
    }
    let config = outer.config();
    let (mut params, mut momentum) = (outer.params().to_vec(), outer.momentum().to_vec());
    let both = params[range.clone()].iter_mut().zip(&mut momentum[range]);
    for ((p, m), g) in both.zip(mean) {
        *m = config.momentum * *m + g;
        *p -= config.learning_rate * (g + config.momentum * *m);
    }
    Outer::restored(params, momentum, config)
}

// ---- the checkpoint --------------------------------------------------------------------------------------

/// A state without its numbers.
#[derive(Serialize, Deserialize)]
struct Words {
    digests: Vec<String>,
    sent: Vec<SentWords>,
}

/// An update under way.
#[derive(Serialize, Deserialize)]
struct SentWords {
    round: u32,
    range: Range<usize>,
    interval: (u64, u64),
    answer: Said,
}

impl State {
    fn new(outer: Outer, digests: Vec<String>, codec: Codec) -> Self {
        Self {
            local: Local::new(&outer, codec),
            outer,
            digests,
            moments: vec![0.0; WEIGHTS],
            trained: Vec::new(),
        }
    }

    fn committed(&self) -> u32 {
        u32::try_from(self.digests.len()).expect("rounds are counted in 32 bits")
    }

    /// The update at `place` and all after it are undone.
    fn go_back(&mut self, place: usize) {
        if let Some(first) = self.trained.drain(place..).next() {
            self.moments = first.before;
        }
    }

    fn save(&self) -> Bytes {
        let (own, sent) = self.local.parts();
        let both = sent.iter().zip(&self.trained);
        let words = both.clone().map(|(sent, trained)| SentWords {
            round: sent.round,
            range: sent.range.clone(),
            interval: trained.interval,
            answer: trained.answer.clone(),
        });
        let words = Words {
            digests: self.digests.clone(),
            sent: words.collect(),
        };
        let mut numbers: Vec<&[f32]> = vec![self.outer.params(), self.outer.momentum(), &self.moments];
        numbers.extend([&own.params[..], &own.residual]);
        for (sent, trained) in both {
            let before = [&sent.before.params[..], &sent.before.residual, &trained.before];
            numbers.push(&sent.weights);
            numbers.extend(before);
        }
        sealed(&words, &numbers)
    }

    /// None if it is damaged.
    fn load(bytes: &[u8], codec: Codec) -> Option<Self> {
        let (words, mut numbers) = open::<Words>(unsealed(bytes)?)?;
        let residual = Local::residual(codec, WEIGHTS);
        let outer = Outer::restored(
            numbers.take(WEIGHTS)?,
            numbers.take(WEIGHTS)?,
            OuterConfig::default(),
        );
        let moments = numbers.take(WEIGHTS)?;
        let own = |numbers: &mut Numbers<'_>| {
            Some(Own {
                params: numbers.take(WEIGHTS)?,
                residual: numbers.take(residual)?,
            })
        };
        let now = own(&mut numbers)?;
        let (mut sent, mut trained) = (Vec::new(), Vec::new());
        for SentWords {
            round,
            range,
            interval,
            answer,
        } in words.sent
        {
            sent.push(Sent {
                round,
                weights: numbers.take(range.len())?,
                range,
                before: own(&mut numbers)?,
            });
            trained.push(Trained {
                interval,
                answer,
                before: numbers.take(WEIGHTS)?,
            });
        }
        Some(Self {
            outer,
            digests: words.digests,
            local: Local::restored(now, sent),
            moments,
            trained,
        })
    }
}

/// A digest, the words' length, the words, the numbers.
fn sealed(words: &impl Serialize, numbers: &[&[f32]]) -> Bytes {
    let words = serde_json::to_vec(words).expect("words are plain data");
    let mut bytes = (words.len() as u32).to_le_bytes().to_vec();
    bytes.extend(words);
    bytes.extend(numbers.iter().flat_map(|part| floats(part)));
    let digest = blake3::hash(&bytes);
    [digest.as_bytes(), &bytes[..]].concat().into()
}

fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (digest, bytes) = bytes.split_first_chunk::<32>()?;
    (blake3::hash(bytes).as_bytes() == digest).then_some(bytes)
}

fn open<W: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<(W, Numbers<'_>)> {
    let (len, bytes) = bytes.split_first_chunk::<4>()?;
    let (words, numbers) = bytes.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((serde_json::from_slice(words).ok()?, Numbers(numbers)))
}

/// Numbers that are still to be read.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take(&mut self, count: usize) -> Option<Vec<f32>> {
        let (taken, left) = self.0.split_at_checked(4 * count)?;
        self.0 = left;
        let (floats, _) = taken.as_chunks::<4>();
        Some(floats.iter().map(|x| f32::from_le_bytes(*x)).collect())
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

// ---- the model -------------------------------------------------------------------------------------------

/// What a weight is to become.
fn truth(weight: usize) -> f32 {
    1.0 + (weight % 7) as f32 / 8.0
}

/// Which inputs are one.
struct Sample([usize; ONES]);

impl Sample {
    fn new(data: u64, index: u64) -> Self {
        let mut dice = Dice::new(data ^ index.wrapping_mul(0x2545_f491_4f6c_dd1d));
        Self(std::array::from_fn(|_| dice.index(WEIGHTS)))
    }

    /// The guess minus the truth.
    fn error(&self, weights: &[f32]) -> f32 {
        self.0.iter().map(|i| weights[*i] - truth(*i)).sum()
    }
}

/// One step; returns the mean loss before it.
fn step(weights: &mut [f32], moments: &mut [f32], batch: impl Iterator<Item = Sample>) -> f32 {
    let batch: Vec<Sample> = batch.collect();
    moments.iter_mut().for_each(|m| *m *= MOMENTUM);
    let mut loss = 0.0;
    for sample in &batch {
        let error = sample.error(weights);
        loss += error * error / 2.0 / batch.len() as f32;
        for i in sample.0 {
            moments[i] += error / batch.len() as f32;
        }
    }
    weights.iter_mut().zip(moments).for_each(|(w, m)| *w -= RATE * *m);
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(beginning(Settings { seed: 1 }), Vec::new(), Codec::Int4)
    }

    #[test]
    fn it_learns() {
        let mut state = state();
        let mut weights = state.outer.params().to_vec();
        let mut losses = Vec::new();
        for round in 0..12u64 {
            let samples = (round * 16..).map(|i| Sample::new(9, i));
            losses.push(step(&mut weights, &mut state.moments, samples.take(16)));
        }
        assert!(losses[11] < losses[0] / 4.0, "{losses:?}");
    }

    #[test]
    fn a_state_survives_its_file_and_a_torn_file_is_none() {
        let mut state = state();
        state
            .local
            .send(&state.outer, 0, 0..120, vec![0.3; WEIGHTS], Codec::Int4)
            .unwrap();
        state.trained.push(Trained {
            interval: (0, 8),
            answer: Said::Note { message: "n".into() },
            before: vec![0.5; WEIGHTS],
        });
        let bytes = state.save();
        let back = State::load(&bytes, Codec::Int4).expect("it is whole");
        assert_eq!(back.save(), bytes);
        for cut in [0, 31, 32, 40, 1000, bytes.len() - 1] {
            assert!(State::load(&bytes[..cut], Codec::Int4).is_none(), "cut at {cut}");
        }
    }
}
