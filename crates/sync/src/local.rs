//! What a site has of its own between rounds: where its training stands, which updates are under way, and what
//! its codec could not tell yet.
//!
//! With fragments, most of what a site has learned since their last turn is in its own weights alone; with an
//! overlap, it trains on while its update travels. Three rules keep that in order, weight by weight:
//!
//! ```text
//! send     update = base - local     the base: what was last sent of it and is not applied yet, or else
//!                                    what is agreed
//! apply    local  = agreed' + (local - base)    what was learned since then stays, on top of what is now agreed
//! undo     an update that did not count takes its training with it: the site is again where it was before
//! ```
//!
//! So each sample's training is sent once and in one update only, or its interval is back in the queue and
//! nothing of it is left here. Without fragments and overlap, all that comes to "start from what is agreed".
//!
//! ```
//! use sync::{Codec, Contribution, Fate, Local, Outer, OuterConfig, Scale, Update};
//! let mut outer = Outer::new(vec![1.0f32; 8], OuterConfig { learning_rate: 1.0, momentum: 0.0 });
//! let mut local = Local::new(&outer, Codec::Fp32);
//!
//! let trained = vec![0.5; 8]; // what the round's steps made of local.params()
//! let update = Update::parse(&local.send(&outer, 0, 0..4, trained, Codec::Fp32)?)?;
//! let round = [Contribution { weight: 100, scale: Scale::WHOLE, update: &update }];
//! let fate = local.apply(&mut outer, 0, 0..4, &round, true)?;
//! assert_eq!(fate, Fate::Counted(0));
//! assert_eq!(outer.params(), [0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]);
//! assert_eq!(local.params(), [0.5; 8]); // what it learned of the second half is still to be sent
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{Codec, CodecError, Contribution, Form, Outer, OuterError};
use std::ops::Range;

/// A site's own part. Plain data, so that it can be kept in a checkpoint: [`Local::parts`].
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    own: Own,
    sent: Vec<Sent>,
}

/// What training changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// Where the training stands.
    pub params: Vec<f32>,
    /// What the codec could not tell yet of each weight; of a codec that tells all, nothing.
    pub residual: Vec<f32>,
}

/// An update that is written and not applied yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its round.
    pub round: u32,
    /// The weights it is of.
    pub range: Range<usize>,
    /// Where the training stood: the base of what follows.
    pub weights: Vec<f32>,
    /// What there was before the round's training.
    pub before: Own,
}

/// What became of a site's update of a round; the number is its place among those under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// There was none here.
    Absent,
    /// It counts.
    Counted(usize),
    /// It came too late: its training is undone, and that of all that were written after it.
    Undone(usize),
}

impl Local {
    /// A site that has nothing of its own yet.
    pub fn new(outer: &Outer, codec: Codec) -> Self {
        let params = outer.params().to_vec();
        let residual = vec![0.0; Self::residual(codec, params.len())];
        Self {
            own: Own { params, residual },
            sent: Vec::new(),
        }
    }

    /// How many numbers `codec` leaves of so many weights, for its next update.
    pub fn residual(codec: Codec, weights: usize) -> usize {
        if codec == Codec::Fp32 { 0 } else { weights }
    }

    /// What was kept in a checkpoint.
    pub fn restored(own: Own, sent: Vec<Sent>) -> Self {
        Self { own, sent }
    }

    /// All there is of it, to keep in a checkpoint.
    pub fn parts(&self) -> (&Own, &[Sent]) {
        (&self.own, &self.sent)
    }

    /// The weights to train from.
    pub fn params(&self) -> &[f32] {
        &self.own.params
    }

    /// The place of `round`'s update among those under way.
    pub fn place(&self, round: u32) -> Option<usize> {
        self.sent.iter().position(|sent| sent.round == round)
    }

    /// Writes the update of `range`, now that the training of `round` has come to `trained`. On an error
    /// nothing has changed.
    pub fn send(
        &mut self,
        outer: &Outer,
        round: u32,
        range: Range<usize>,
        trained: Vec<f32>,
        form: impl Into<Form>,
    ) -> Result<Vec<u8>, CodecError> {
        let mut change = self.base(outer, &range);
        for (base, now) in change.iter_mut().zip(&trained[range.clone()]) {
            *base -= now;
        }
        let mut residual = self.own.residual.clone();
        let told_all = residual.is_empty();
        let left = (!told_all).then(|| &mut residual[range.clone()]);
        let bytes = form.into().write(&change, left)?;
        let weights = trained[range.clone()].to_vec();
        let before = std::mem::replace(
            &mut self.own,
            Own {
                params: trained,
                residual,
            },
        );
        self.sent.push(Sent {
            round,
            range,
            weights,
            before,
        });
        Ok(bytes)
    }

    /// Takes back the update at `place` and all that were written after it.
    pub fn undo(&mut self, place: usize) {
        if place < self.sent.len() {
            let mut undone = self.sent.drain(place..);
            if let Some(first) = undone.next() {
                self.own = first.before;
            }
        }
    }

    /// Applies a round to what is agreed, and follows it. `counts` says whether this site's update is in it.
    /// On an error nothing has changed.
    pub fn apply(
        &mut self,
        outer: &mut Outer,
        round: u32,
        range: Range<usize>,
        updates: &[Contribution<'_>],
        counts: bool,
    ) -> Result<Fate, OuterError> {
        let agreed = outer.params().get(range.clone()).map(<[f32]>::to_vec);
        outer.step(range.clone(), updates)?;
        let agreed = agreed.expect("the step has just checked the range");
        let place = self.place(round);
        let fate = match place {
            Some(place) if counts => Fate::Counted(place),
            Some(place) => {
                self.undo(place);
                Fate::Undone(place)
            }
            None => Fate::Absent,
        };
        let counted = match fate {
            Fate::Counted(place) => Some((place, self.sent.remove(place))),
            _ => None,
        };
        let now = &outer.params()[range.clone()];
        let base = counted.as_ref().map_or(&agreed, |(_, sent)| &sent.weights);
        follow(&mut self.own.params[range.clone()], base, now);
        for (i, other) in self.sent.iter_mut().enumerate() {
            // What was trained before this update was written knows nothing of it.
            let later = counted.as_ref().is_none_or(|(place, _)| i >= *place);
            let base = if later { base } else { &agreed };
            follow(&mut other.before.params[range.clone()], base, now);
            let both = range.start.max(other.range.start)..range.end.min(other.range.end);
            if !both.is_empty() {
                let theirs = both.start - other.range.start..both.end - other.range.start;
                let ours = both.start - range.start..both.end - range.start;
                follow(&mut other.weights[theirs], &base[ours.clone()], &now[ours]);
            }
        }
        Ok(fate)
    }

    /// What an update of `range` counts from.
    fn base(&self, outer: &Outer, range: &Range<usize>) -> Vec<f32> {
        let mut base = outer.params()[range.clone()].to_vec();
        for sent in &self.sent {
            let both = range.start.max(sent.range.start)..range.end.min(sent.range.end);
            if !both.is_empty() {
                let theirs = both.start - sent.range.start..both.end - sent.range.start;
                let ours = both.start - range.start..both.end - range.start;
                base[ours].copy_from_slice(&sent.weights[theirs]);
            }
        }
        base
    }
}

/// The digest of numbers, by which damage to a checkpoint is found out.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [f32]>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::with_capacity(4 << 14);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        for chunk in part.chunks(1 << 14) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|x| x.to_le_bytes()));
            hasher.update(&bytes);
        }
    }
    format!("blake3:{}", hasher.finalize().to_hex())
}

/// Keeps the way from `base` to each weight, and lets it begin at `now`.
fn follow(weights: &mut [f32], base: &[f32], now: &[f32]) {
    for ((weight, base), now) in weights.iter_mut().zip(base).zip(now) {
        *weight = now + (*weight - base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OuterConfig, Scale, Update, encode};
    use proptest::prelude::*;

    /// Applies what it is told: the sum of the updates is where the weights go.
    const PLAIN: OuterConfig = OuterConfig {
        learning_rate: 1.0,
        momentum: 0.0,
    };
    const WEIGHTS: usize = 6;

    /// A site alone, in rounds of `fragments` with `overlap`, whose round r moves every weight by 2^-r. Round
    /// `late` comes too late and is trained again by the next.
    fn alone(fragments: usize, overlap: u32, rounds: u32, late: Option<u32>) -> (Outer, Local) {
        let mut outer = Outer::new(vec![0.0; WEIGHTS], PLAIN);
        let mut local = Local::new(&outer, Codec::Fp32);
        let width = WEIGHTS / fragments;
        let range = |round: u32| match round {
            round if round + 1 == rounds => 0..WEIGHTS,
            round => (round as usize % fragments) * width..(round as usize % fragments + 1) * width,
        };
        let mut updates = Vec::new();
        let apply = |local: &mut Local, outer: &mut Outer, updates: &[Vec<u8>], round: u32| {
            let update = Update::parse(&updates[round as usize]).unwrap();
            let one = [Contribution {
                weight: 1,
                scale: Scale::WHOLE,
                update: &update,
            }];
            let nothing = Update::parse(&encode(Codec::Fp32, &vec![0.0; range(round).len()], None).unwrap());
            let nothing = nothing.unwrap();
            let others = [Contribution {
                weight: 1,
                scale: Scale::WHOLE,
                update: &nothing,
            }];
            let counts = late != Some(round);
            let accepted = if counts { &one } else { &others };
            local.apply(outer, round, range(round), accepted, counts).unwrap()
        };
        for round in 0..rounds {
            let moved = local
                .params()
                .iter()
                .map(|x| x + 0.5f32.powi(round as i32))
                .collect();
            updates.push(
                local
                    .send(&outer, round, range(round), moved, Codec::Fp32)
                    .unwrap(),
            );
            if let Some(closed) = round.checked_sub(overlap) {
                apply(&mut local, &mut outer, &updates, closed);
            }
        }
        for closed in rounds - overlap..rounds {
            apply(&mut local, &mut outer, &updates, closed);
        }
        (outer, local)
    }

    proptest! {
        #[test]
        fn whatever_is_learned_is_sent_once(
            fragments in prop::sample::select(vec![1usize, 2, 3]),
            overlap in 0u32..3,
            rounds in 4u32..12,
        ) {
            let (outer, local) = alone(fragments, overlap, rounds, None);
            let all: f32 = (0..rounds as i32).map(|round| 0.5f32.powi(round)).sum();
            prop_assert_eq!(outer.params(), vec![all; WEIGHTS]);
            prop_assert_eq!(local.params(), outer.params());
            prop_assert!(local.parts().1.is_empty());
        }
    }

    #[test]
    fn what_came_too_late_leaves_nothing_behind() {
        for fragments in [1, 2, 3] {
            let (outer, _) = alone(fragments, 0, 6, Some(2));
            let counted: f32 = [0, 1, 3, 4, 5].iter().map(|round| 0.5f32.powi(*round)).sum();
            assert_eq!(outer.params(), vec![counted; WEIGHTS]);
        }
    }

    #[test]
    fn an_update_that_does_not_count_takes_later_ones_with_it() {
        let mut outer = Outer::new(vec![1.0; 4], PLAIN);
        let mut local = Local::new(&outer, Codec::Int4);
        let before = local.clone();
        let odd = |x: f32| vec![x, x / 3.0, x / 5.0, x / 7.0];
        local.send(&outer, 0, 0..2, odd(0.9), Codec::Int4).unwrap();
        local.send(&outer, 1, 2..4, odd(0.8), Codec::Int4).unwrap();
        assert_ne!(local.parts().0.residual, before.parts().0.residual);
        let others = Update::parse(&encode(Codec::Int8, &[0.5, 0.5], None).unwrap()).unwrap();
        let round = [Contribution {
            weight: 1,
            scale: Scale::WHOLE,
            update: &others,
        }];
        let fate = local.apply(&mut outer, 0, 0..2, &round, false).unwrap();
        assert_eq!(fate, Fate::Undone(0));
        assert_eq!(local.parts().1, []);
        assert_eq!(local.params(), outer.params());
        assert_eq!(local.parts().0.residual, before.parts().0.residual);
    }

    #[test]
    fn a_round_that_can_not_be_applied_changes_nothing() {
        let mut outer = Outer::new(vec![1.0; 4], PLAIN);
        let mut local = Local::new(&outer, Codec::Int8);
        let sent = local.send(&outer, 0, 0..2, vec![0.5; 4], Codec::Int8).unwrap();
        let update = Update::parse(&sent).unwrap();
        let of_nothing = [Contribution {
            weight: 0,
            scale: Scale::WHOLE,
            update: &update,
        }];
        let (before, agreed) = (local.clone(), outer.clone());
        assert!(local.apply(&mut outer, 0, 0..2, &of_nothing, true).is_err());
        assert!(local.apply(&mut outer, 0, 3..5, &[], true).is_err());
        assert!(local == before && outer == agreed);
        assert!(
            local
                .send(&outer, 1, 2..4, vec![f32::NAN; 4], Codec::Int8)
                .is_err()
        );
        assert!(local == before);
    }
}
