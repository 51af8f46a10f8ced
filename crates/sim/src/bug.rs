use consortium::{Event, Phase, Report, State};
use store::Entry;

/// A defect on purpose: the rules that a story is judged by must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The hub answers before the log has what it confirms.
    ConfirmsBeforeCommit,
    /// The hub gives an interval that was used to another site once more.
    GivesAnIntervalTwice,
    /// The hub forgets the intervals that came back, and ends jobs without them.
    ForgetsWhatCameBack,
    /// The hub forgets which keys were used.
    ForgetsKeys,
    /// The hub lets anyone have any artifact.
    LetsAnyoneRead,
    /// The hub never takes a silent site for lost.
    NeverLosesASite,
    /// The hub keeps what an ended job had set aside.
    KeepsWhatWasSetAside,
    /// The hub closes a round a second time.
    ClosesARoundTwice,
    /// A site adds up in floats, in an order of its own.
    AddsInFloats,
    /// A site takes all of an update of which a part counts.
    ForgetsScales,
    /// The hub doesn't tell whose update it rejected.
    HidesARejection,
    /// The hub takes what one inspector says of an update, the one who finds the worst, for what most say.
    BelievesOneInspector,
    /// The hub leaves a site out of a sum whose own mask it knows.
    LiftsBoth,
    /// A site forgets one of its masks.
    ForgetsAMask,
    /// A site hands what it has to whoever asks.
    HandsToAnyone,
}

impl Bug {
    /// Does its harm to a turn of the hub.
    pub(crate) fn tamper(self, state: &mut State, entries: &mut [Entry]) {
        match self {
            Self::GivesAnIntervalTwice => {
                for job in state.jobs.values_mut().filter(|job| job.returned.is_empty()) {
                    let closed = job.rounds.iter().find(|round| round.is_closed());
                    let used = closed.and_then(|round| round.members.values().next());
                    job.returned.extend(used);
                }
            }
            Self::ForgetsWhatCameBack => {
                for job in state.jobs.values_mut().filter(|job| !job.returned.is_empty()) {
                    job.returned.clear();
                    let over = job.committed() >= job.spec.rounds.count && job.open_round().is_none();
                    if over && job.waiting() == 0 {
                        job.phase = Phase::Finishing;
                    }
                }
            }
            Self::ForgetsKeys => state.remembered.clear(),
            Self::KeepsWhatWasSetAside => {
                for entry in entries {
                    let ended = entry
                        .events
                        .iter()
                        .position(|event| matches!(event, Event::Ended { .. }));
                    entry.events.truncate(ended.map_or(usize::MAX, |at| at + 1));
                }
            }
            Self::ClosesARoundTwice => {
                for entry in entries {
                    let is_close = |event: &&Event| matches!(event, Event::RoundClosed { .. });
                    let closed = entry.events.iter().find(is_close).cloned();
                    entry.events.extend(closed);
                }
            }
            Self::HidesARejection => {
                for event in entries.iter_mut().flat_map(|entry| &mut entry.events) {
                    if let Event::RoundClosed { rejected, .. } = event {
                        rejected.clear();
                    }
                }
            }
            Self::BelievesOneInspector => {
                let inspections = state.jobs.values_mut().flat_map(|job| &mut job.rounds);
                let reports = inspections.filter_map(|round| round.inspection.as_mut());
                for reports in reports.map(|inspection| &mut inspection.reports) {
                    let worst = |report: &&Report| report.found.values().map(|found| found.loss).max();
                    if let Some(worst) = reports.values().max_by_key(worst).cloned() {
                        reports.values_mut().for_each(|report| *report = worst.clone());
                    }
                }
            }
            Self::LiftsBoth => {
                let rounds = state.jobs.values_mut().flat_map(|job| &mut job.rounds);
                for unmasking in rounds.filter_map(|round| round.unmasking.as_mut()) {
                    unmasking.gone.extend(unmasking.told.keys().next().cloned());
                }
            }
            _ => {}
        }
    }
}
