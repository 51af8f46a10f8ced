//! Who holds how much, and who has used how much lately: the numbers that fair share is made of, as integers.

/// A whole, as a fixed-point number: shares, factors and decay are parts of it.
pub(super) const ONE: u64 = 1 << 32;
/// Steps in a half-life. After a step a use counts [`STEP`] of what it did.
const STEPS: u64 = 64;
/// 2^(-1/64) of [`ONE`].
const STEP: u64 = 4_248_701_965;

/// A project's place in the tree: its organisation, and how much it is entitled to beside its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entitled {
    /// Which organisation, counted from 0.
    pub organisation: u32,
    /// Weight of the organisation among organisations; at least 1.
    pub organisation_weight: u32,
    /// Weight of the project among its organisation's; at least 1.
    pub weight: u32,
}

/// Holdings and use of all projects.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    pub(super) projects: Vec<Entitled>,
    /// GPUs there are, by kind.
    totals: Vec<u64>,
    /// GPUs held, by project and kind.
    held: Vec<u64>,
    /// The same by organisation.
    held_by: Vec<u64>,
    /// GPU-milliseconds used by project, an older one counting less.
    used: Vec<u128>,
    used_by: Vec<u128>,
    used_all: u128,
    /// The dominant share by organisation and by project, kept up to date.
    share_by: Vec<u64>,
    share: Vec<u64>,
    weight_of: Vec<u32>,
    weights_inside: Vec<u64>,
    weights: u64,
    half_life_ms: u64,
    now: u64,
}

impl Shares {
    pub(super) fn new(projects: Vec<Entitled>, totals: Vec<u64>, half_life_ms: u64) -> Self {
        let organisations = projects
            .iter()
            .map(|p| p.organisation as usize + 1)
            .max()
            .unwrap_or(0);
        let mut weight_of = vec![0; organisations];
        let mut weights_inside = vec![0; organisations];
        for project in &projects {
            weight_of[project.organisation as usize] = project.organisation_weight.max(1);
            weights_inside[project.organisation as usize] += u64::from(project.weight.max(1));
        }
        Self {
            held: vec![0; projects.len() * totals.len()],
            held_by: vec![0; organisations * totals.len()],
            used: vec![0; projects.len()],
            used_by: vec![0; organisations],
            used_all: 0,
            share_by: vec![0; organisations],
            share: vec![0; projects.len()],
            weights: weight_of.iter().map(|w| u64::from(*w)).sum(),
            weight_of,
            weights_inside,
            totals,
            half_life_ms: half_life_ms.max(STEPS),
            now: 0,
            projects,
        }
    }

    pub(super) fn begin(&mut self, now: u64) {
        self.now = now;
    }

    fn organisation(&self, project: u32) -> usize {
        self.projects[project as usize].organisation as usize
    }

    /// Counts what was held until `now` as used, and lets older use fade.
    pub(super) fn advance(&mut self, now: u64) {
        let step = self.half_life_ms / STEPS;
        while self.now < now {
            let turn = (self.now / step + 1) * step;
            let until = turn.min(now);
            self.count(until - self.now);
            self.now = until;
            if until == turn {
                self.fade();
            }
            // After so many half-lives nothing is left to fade.
            let idle = self.used_all == 0 && self.held.iter().all(|held| *held == 0);
            if idle {
                self.now = now;
            }
        }
    }

    fn count(&mut self, millis: u64) {
        let kinds = self.totals.len();
        for (project, held) in self.held.chunks_exact(kinds.max(1)).enumerate() {
            let used = u128::from(held.iter().sum::<u64>()) * u128::from(millis);
            self.used[project] += used;
            self.used_by[self.projects[project].organisation as usize] += used;
            self.used_all += used;
        }
    }

    fn fade(&mut self) {
        let fade = |used: &mut u128| *used = (*used * u128::from(STEP)) >> 32;
        self.used.iter_mut().for_each(fade);
        self.used_by.fill(0);
        for (project, used) in self.projects.iter().zip(&self.used) {
            self.used_by[project.organisation as usize] += used;
        }
        self.used_all = self.used.iter().sum();
    }

    /// Use from before the queue was there, that ended so long ago.
    pub(super) fn remember(&mut self, project: u32, gpu_millis: u128, ago_ms: u64) {
        let half_lives = (u128::from(ago_ms) << 32) / u128::from(self.half_life_ms);
        let gpu_millis = (gpu_millis.min(u128::MAX >> 33) * u128::from(half_to_the(half_lives))) >> 32;
        let organisation = self.organisation(project);
        self.used[project as usize] += gpu_millis;
        self.used_by[organisation] += gpu_millis;
        self.used_all += gpu_millis;
    }

    pub(super) fn hold(&mut self, project: u32, kind: u16, gpus: u64) {
        let (kinds, organisation) = (self.totals.len(), self.organisation(project));
        self.held[project as usize * kinds + kind as usize] += gpus;
        self.held_by[organisation * kinds + kind as usize] += gpus;
        self.update(project, kind);
    }

    pub(super) fn let_go(&mut self, project: u32, kind: u16, gpus: u64) {
        let (kinds, organisation) = (self.totals.len(), self.organisation(project));
        self.held[project as usize * kinds + kind as usize] -= gpus;
        self.held_by[organisation * kinds + kind as usize] -= gpus;
        self.update(project, kind);
    }

    fn update(&mut self, project: u32, kind: u16) {
        let organisation = self.organisation(project);
        self.share_by[organisation] = self.of_organisation_with(project, kind, 0);
        self.share[project as usize] = self.of_project_with(project, kind, 0);
    }

    /// An organisation's dominant share.
    pub(super) fn of_organisation(&self, project: u32) -> u64 {
        self.share_by[self.organisation(project)]
    }

    /// A project's dominant share.
    pub(super) fn of_project(&self, project: u32) -> u64 {
        self.share[project as usize]
    }

    /// The dominant share: of the kind of which it holds the largest part, that part, by weight. `more` GPUs
    /// of `kind` are added to what is held first, or taken from it.
    fn dominant(&self, held: &[u64], weight: u64, kind: u16, more: i64) -> u64 {
        let parts = held
            .iter()
            .zip(&self.totals)
            .enumerate()
            .map(|(k, (held, total))| {
                let more = if k == kind as usize { more } else { 0 };
                // No machine room has 2^31 GPUs.
                let held = held.saturating_add_signed(more).min(u64::from(u32::MAX));
                (held << 32) / (*total).max(1) / weight.max(1)
            });
        parts.max().unwrap_or(0)
    }

    /// An organisation's dominant share, as if it held `more` GPUs of `kind`.
    pub(super) fn of_organisation_with(&self, project: u32, kind: u16, more: i64) -> u64 {
        let (kinds, organisation) = (self.totals.len(), self.organisation(project));
        let held = &self.held_by[organisation * kinds..][..kinds];
        self.dominant(held, self.weight_of[organisation].into(), kind, more)
    }

    /// A project's dominant share, as if it held `more` GPUs of `kind`.
    pub(super) fn of_project_with(&self, project: u32, kind: u16, more: i64) -> u64 {
        let kinds = self.totals.len();
        let held = &self.held[project as usize * kinds..][..kinds];
        self.dominant(held, self.projects[project as usize].weight.into(), kind, more)
    }

    /// An organisation's dominant share, and its part of all recent use, by weight.
    pub(super) fn standing(&self, organisation: u32) -> (u64, u64) {
        let organisation = organisation as usize;
        let lately = part(self.used_by[organisation], self.used_all);
        let weight = u64::from(self.weight_of[organisation].max(1));
        (self.share_by[organisation], lately / weight)
    }

    /// The fair-share factor of the multifactor formula: 2^(-U/S), where S is the project's share of the whole
    /// and U its effective use: its own part of all use, and of what its siblings used the part that goes with
    /// its share among them.
    pub(super) fn factor(&self, project: u32) -> u64 {
        let organisation = self.organisation(project);
        let own = u128::from(self.projects[project as usize].weight.max(1));
        let inside = u128::from(self.weights_inside[organisation].max(1));
        let outside = u128::from(self.weight_of[organisation].max(1));
        let (of_all, by_all) = (self.used[project as usize], self.used_by[organisation]);
        let effective = part(of_all, self.used_all) as u128
            + u128::from(part(by_all - of_all, self.used_all)) * own / inside;
        let share = (u128::from(ONE) * outside / u128::from(self.weights.max(1)) * own / inside).max(1);
        half_to_the((effective << 32) / share)
    }
}

fn part(some: u128, all: u128) -> u64 {
    if all == 0 {
        return 0;
    }
    // A use of 2^90 GPU-milliseconds is beyond all machines there are, so the shift keeps every bit.
    ((some << 32) / all) as u64
}

/// 2^-x of [`ONE`], for x as a fixed-point number.
pub(super) fn half_to_the(x: u128) -> u64 {
    let (whole, part) = ((x >> 32) as u64, (x & 0xffff_ffff) as u64);
    if whole >= 63 {
        return 0;
    }
    // 64 steps by squaring, then linear inside a step: wrong by less than 2e-5.
    let (steps, inside) = (part >> 26, part & 0x03ff_ffff);
    let (mut power, mut base, mut n) = (u128::from(ONE), u128::from(STEP), steps);
    while n > 0 {
        if n & 1 == 1 {
            power = (power * base) >> 32;
        }
        base = (base * base) >> 32;
        n >>= 1;
    }
    let next = (power * u128::from(STEP)) >> 32;
    let between = power - (((power - next) * u128::from(inside)) >> 26);
    (between >> whole) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_a_half() {
        let one = u128::from(ONE);
        // 2^32 times 1, 1/2, 2^-0.5, 2^-0.1, 2^-3.7 and 2^-40.
        for (x, expected) in [
            (0, ONE),
            (one, ONE / 2),
            (one / 2, 3_037_000_500),
            (one / 10, 4_007_346_185),
            (one * 37 / 10, 330_482_812),
            (one * 40, 0),
        ] {
            assert!(
                half_to_the(x).abs_diff(expected) < 200_000,
                "{x}: {}",
                half_to_the(x)
            );
        }
    }

    #[test]
    fn a_use_counts_half_after_a_half_life() {
        let entitled = Entitled {
            organisation: 0,
            organisation_weight: 1,
            weight: 1,
        };
        let mut shares = Shares::new(vec![entitled], vec![8], 64_000);
        shares.remember(0, 1_000_000_000, 0);
        shares.advance(64_000);
        assert!(
            shares.used_all.abs_diff(500_000_000) < 1_000,
            "{}",
            shares.used_all
        );
        // What is held counts from its start on.
        shares.hold(0, 0, 8);
        shares.advance(65_000);
        assert!(shares.used_by[0] > 494_500_000 && shares.share_by[0] == ONE);
    }
}
