//! Mixture of experts: a router sends each row to a few of many feed-forward layers, whose products are
//! grouped, an expert's rows side by side (Switch, arXiv 2101.03961; ST-MoE, 2202.08906; Mixtral, 2401.04088).
//!
//! [`Tape::route`] decides, [`Tape::dispatch`] sorts the rows by expert, [`Tape::grouped_linear`] is a linear
//! layer with a weight for each expert, [`Tape::combine`] puts the results back, weighted by the router.

use super::linear;
use crate::kernel::{Math, Target, Threads, View, product};
use crate::simd::vectorised;
use crate::tape::{Back, Saved};
use crate::{Element, Param, Tape, Var};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

/// How a router decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Router {
    /// Experts that each row goes to.
    pub top: usize,
    /// Rows that an expert takes, as a multiple of an even share; what comes later is dropped and passes by
    /// in the residual stream. None drops nothing.
    pub capacity: Option<f32>,
    /// Whether the weights of a row's experts are made to sum to 1 (Mixtral) or stay probabilities (Switch).
    pub normalise: bool,
    /// Weight of the load-balancing loss: experts times the sum, over experts, of the share of rows it gets
    /// and its mean probability. An even load has 1.
    pub balance: f32,
    /// Weight of the mean square of the logits' log-sum-exp, which keeps them small.
    pub z: f32,
}

/// Where each row of a batch goes.
#[derive(Debug, Clone)]
pub struct Route(Rc<Plan>);

#[derive(Debug)]
struct Plan {
    top: usize,
    /// For each row and choice the place among the sorted rows, or [`DROPPED`].
    places: Vec<u32>,
    /// For each row and choice its expert.
    chosen: Vec<u32>,
    /// And its weight.
    weights: Vec<f32>,
    /// For each sorted row, the row it was.
    sources: Vec<u32>,
    /// Where each expert's sorted rows lie.
    ranges: Vec<Range<usize>>,
    /// For each row and choice the weight's gradient; combining sets it.
    dweights: RefCell<Vec<f32>>,
}

const DROPPED: u32 = u32::MAX;

impl Route {
    /// Sorted rows of each expert.
    pub fn loads(&self) -> impl Iterator<Item = usize> {
        self.0.ranges.iter().map(Range::len)
    }

    /// Choices that found their expert full.
    pub fn dropped(&self) -> usize {
        self.0.places.iter().filter(|&&place| place == DROPPED).count()
    }
}

impl<'a, E: Element> Tape<'a, E> {
    /// Decides by `softmax(x w^T)`, in f32 whatever the elements are: a choice hangs on small differences.
    pub fn route(&mut self, x: &Var<'a, E>, w: Param, router: Router) -> Route {
        let (n, experts) = (x.rows, w.rows);
        assert!((1..=experts).contains(&router.top), "between one expert and all");
        let (values, weights) = (x.buffer(), &self.params[w.range()]);
        let mut probabilities = vec![0f32; n * experts];
        let (a, b) = (View::rows(&values, x.cols), View::rows(weights, w.cols).t());
        let to = Target::rows(&mut probabilities, experts);
        // SAFETY: the sizes are the slices'.
        unsafe {
            product(
                (n, experts, x.cols),
                to,
                false,
                1.0,
                a,
                b,
                Math::F32,
                Threads::All,
            );
        };
        let lse: Vec<f32> = probabilities.chunks_exact_mut(experts).map(softmax).collect();
        let plan = Rc::new(Plan::new(&probabilities, experts, router));
        let route = Route(Rc::clone(&plan));

        let n_f = n as f32;
        let shares: Vec<f32> = plan.chosen_shares(experts);
        let mean = |e: usize| probabilities.iter().skip(e).step_by(experts).sum::<f32>() / n_f;
        let balance: f32 = (0..experts).map(|e| shares[e] * mean(e)).sum::<f32>() * experts as f32;
        let z = lse.iter().map(|z| z * z).sum::<f32>() / n_f;
        let losses = f64::from(router.balance * balance + router.z * z);
        let (x, share) = (x.saved(), self.share);
        let backward = move |back: &mut Back<'a, E>| {
            let mut dlogits = vec![0f32; probabilities.len()];
            let dweights = plan.dweights.borrow();
            for (row, d) in dlogits.chunks_exact_mut(experts).enumerate() {
                let p = &probabilities[row * experts..][..experts];
                let choices = row * router.top..(row + 1) * router.top;
                let (chosen, dw) = (&plan.chosen[choices.clone()], &dweights[choices.clone()]);
                let even = share * router.balance * experts as f32 / n_f;
                let dp = |e: usize| even * shares[e];
                dsoftmax(p, d, dp);
                choose_back(p, d, chosen, dw, &plan.weights[choices], router.normalise);
                let dz = share * router.z * 2.0 * lse[row] / n_f;
                d.iter_mut().zip(p).for_each(|(d, p)| *d += dz * p);
            }
            linear_back(back, &x, w, &dlogits);
        };
        self.note_end(losses, backward);
        route
    }

    /// The rows of `x` sorted by expert, each as often as it was chosen.
    pub fn dispatch(&mut self, x: &Var<'a, E>, route: &Route) -> Var<'a, E> {
        let (plan, cols, pool) = (Rc::clone(&route.0), x.cols, self.pool);
        let (rows, saved) = (plan.sources.len(), x.saved());
        // Not kept: sorting again costs less than the memory.
        let sorted = self.cheap(rows, cols, move || {
            let (values, mut sorted) = (saved.buffer(), pool.take(rows * cols));
            let x: &[E] = &values;
            let tasks = sorted.par_chunks_mut(cols).zip(&plan.sources);
            tasks.for_each(|(row, &source)| row.copy_from_slice(&x[source as usize * cols..][..cols]));
            sorted
        });
        let (plan, id, n) = (Rc::clone(&route.0), x.id(), x.rows);
        self.note(&sorted, move |back, dsorted| {
            let (mut dx, rows): (_, &[E]) = (back.pool.take(n * cols), &dsorted);
            let tasks = dx.par_chunks_mut(cols).zip(plan.places.par_chunks(plan.top));
            tasks.for_each(|(dx, places)| gather(dx, rows, places, None));
            back.add(id, dx);
        });
        sorted
    }

    /// A linear layer for each expert's rows: `w` is the experts' weights, stacked.
    pub fn grouped_linear(&mut self, x: &Var<'a, E>, w: Param, route: &Route) -> Var<'a, E> {
        let (plan, experts, i) = (Rc::clone(&route.0), route.0.ranges.len(), x.cols);
        let o = w.rows / experts;
        let (values, mut y) = (x.buffer(), self.pool.take(x.rows * o));
        for (e, rows) in plan.ranges.iter().enumerate() {
            let weights = &self.params[w.part(e, experts).range()];
            let (x, y) = (&values[scaled(rows, i)], &mut y[scaled(rows, o)]);
            linear::forward_rows(x, weights, y, (rows.len(), o, i), false);
        }
        let (y, x) = (self.value(y, x.rows, o), x.saved());
        self.note(&y, move |back, dy| {
            let (mut dx, add) = back.open(x.id, x.rows * i);
            let (values, math) = (x.buffer(), Math::of::<E>());
            for (e, rows) in plan.ranges.iter().enumerate() {
                let (part, sizes) = (w.part(e, experts), (rows.len(), o, i));
                let (dy, x) = (&dy[scaled(rows, o)], &values[scaled(rows, i)]);
                let (dw, add_w) = back.gradient.open(part);
                linear::backward_weight(dy, x, dw, sizes, add_w, math);
                let (w, dx) = (&back.params[part.range()], &mut dx[scaled(rows, i)]);
                linear::backward_input(dy, w, dx, sizes, add, math);
            }
            back.close(x.id, dx);
        });
        y
    }

    /// `residual` plus, for each row, what its experts made of it, weighted by the router.
    pub fn combine(&mut self, residual: Var<'a, E>, y: &Var<'a, E>, route: &Route) -> Var<'a, E> {
        let (plan, cols, stream) = (Rc::clone(&route.0), y.cols, residual.id());
        let (rows, made) = (residual.rows, y.buffer());
        let (mut sum, experts): (_, &[E]) = (residual.into_buffer(self.pool), &made);
        sum.par_chunks_mut(cols)
            .zip(plan.places.par_chunks(plan.top))
            .zip(plan.weights.par_chunks(plan.top))
            .for_each(|((sum, places), weights)| gather(sum, experts, places, Some(weights)));
        let (sum, y) = (self.value(sum, rows, cols), y.saved());
        self.note(&sum, move |back, dsum| {
            let (made, mut dy) = (y.buffer(), back.pool.take(y.rows * cols));
            plan.combine_back(&made, &dsum, &mut dy, cols);
            back.add(y.id, dy);
            back.add(stream, dsum);
        });
        sum
    }
}

impl Plan {
    /// Takes each row's likeliest experts; of two as likely, the lower comes first.
    fn new(probabilities: &[f32], experts: usize, router: Router) -> Self {
        let (n, top) = (probabilities.len() / experts, router.top);
        let (mut chosen, mut weights) = (Vec::with_capacity(n * top), Vec::with_capacity(n * top));
        let mut order: Vec<u32> = Vec::new();
        for p in probabilities.chunks_exact(experts) {
            order.clear();
            order.extend(0..experts as u32);
            order.sort_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]).then(a.cmp(&b)));
            let likeliest = &order[..top];
            let total: f32 = likeliest.iter().map(|&e| p[e as usize]).sum();
            let whole = if router.normalise { total } else { 1.0 };
            weights.extend(likeliest.iter().map(|&e| p[e as usize] / whole));
            chosen.extend_from_slice(likeliest);
        }
        let room = router.capacity.map_or(usize::MAX, |factor| {
            ((factor * (n * top) as f32 / experts as f32).ceil() as usize).max(1)
        });
        let mut plan = Self {
            top,
            places: vec![DROPPED; n * top],
            chosen,
            dweights: RefCell::new(vec![0.0; n * top]),
            weights,
            sources: Vec::new(),
            ranges: Vec::new(),
        };
        for expert in 0..experts as u32 {
            let first = plan.sources.len();
            let choices = plan.chosen.iter().enumerate().filter(|&(_, &e)| e == expert);
            for (choice, _) in choices.take(room) {
                plan.places[choice] = plan.sources.len() as u32;
                plan.sources.push((choice / top) as u32);
            }
            plan.ranges.push(first..plan.sources.len());
        }
        plan
    }

    /// Sets the gradients of the weights and of what the experts made.
    fn combine_back<E: Element>(&self, made: &[E], dsum: &[E], dmade: &mut [E], cols: usize) {
        let Self {
            top,
            places,
            weights,
            sources,
            ..
        } = self;
        self.dweights
            .borrow_mut()
            .par_iter_mut()
            .zip(places)
            .enumerate()
            .for_each(|(choice, (dw, &place))| {
                *dw = match place {
                    DROPPED => 0.0,
                    place => along(
                        &dsum[choice / top * cols..][..cols],
                        &made[place as usize * cols..][..cols],
                    ),
                };
            });
        dmade
            .par_chunks_mut(cols)
            .zip(sources)
            .enumerate()
            .for_each(|(place, (dmade, &row))| {
                let row = row as usize;
                let choice = (row * top..).find(|&choice| places[choice] == place as u32);
                let weight = weights[choice.expect("a sorted row was chosen")];
                weigh(dmade, &dsum[row * cols..][..cols], weight);
            });
    }

    /// The share of choices that fell on each expert, dropped or not.
    fn chosen_shares(&self, experts: usize) -> Vec<f32> {
        let mut shares = vec![0f32; experts];
        for &expert in &self.chosen {
            shares[expert as usize] += 1.0 / self.chosen.len() as f32;
        }
        shares
    }
}

fn scaled(rows: &Range<usize>, cols: usize) -> Range<usize> {
    rows.start * cols..rows.end * cols
}

/// Logits become probabilities; returns their log-sum-exp.
fn softmax(row: &mut [f32]) -> f32 {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - highest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
    highest + sum.ln()
}

/// `d += p (dp - sum(p dp))`.
fn dsoftmax(p: &[f32], d: &mut [f32], dp: impl Fn(usize) -> f32) {
    let mean: f32 = p.iter().enumerate().map(|(e, p)| p * dp(e)).sum();
    for (e, (d, p)) in d.iter_mut().zip(p).enumerate() {
        *d += p * (dp(e) - mean);
    }
}

/// Adds what flows from a row's weights to its logits. Normalised weights are a softmax over the chosen.
fn choose_back(p: &[f32], d: &mut [f32], chosen: &[u32], dw: &[f32], weights: &[f32], normalise: bool) {
    if normalise {
        let mean: f32 = weights.iter().zip(dw).map(|(w, dw)| w * dw).sum();
        for ((&e, w), dw) in chosen.iter().zip(weights).zip(dw) {
            d[e as usize] += w * (dw - mean);
        }
    } else {
        let of = |e: usize| {
            chosen
                .iter()
                .position(|&c| c as usize == e)
                .map_or(0.0, |i| dw[i])
        };
        dsoftmax(p, d, of);
    }
}

fn linear_back<'a, E: Element>(back: &mut Back<'a, E>, x: &Saved<'a, E>, w: Param, dlogits: &[f32]) {
    let sizes = (x.rows, w.rows, w.cols);
    let (dw, add) = back.gradient.open(w);
    linear::backward_weight(dlogits, &x.buffer(), dw, sizes, add, Math::F32);
    let (mut dx, add) = back.open(x.id, x.rows * x.cols);
    linear::backward_input(dlogits, &back.params[w.range()], &mut dx, sizes, add, Math::F32);
    back.close(x.id, dx);
}

// The sum of the rows at `places`; with weights, that is added to what is there.
vectorised! {
    pub(crate) fn gather<E>(sum: &mut [E], rows: &[E], places: &[u32], weights: Option<&[f32]>) {
        let c = sum.len();
        let mut wide: Vec<f32> = match weights {
            Some(_) => sum.iter().map(|x| x.to_f32()).collect(),
            None => vec![0.0; c],
        };
        for (choice, &place) in places.iter().enumerate() {
            if place == DROPPED {
                continue;
            }
            let weight = weights.map_or(1.0, |weights| weights[choice]);
            for (wide, x) in wide.iter_mut().zip(&rows[place as usize * c..][..c]) {
                *wide = weight.mul_add(x.to_f32(), *wide);
            }
        }
        sum.iter_mut().zip(&wide).for_each(|(sum, x)| *sum = E::of(*x));
    }
}

vectorised! {
    pub(crate) fn along<E>(x: &[E], y: &[E]) -> f32 {
        crate::simd::dot(x, y)
    }
}

vectorised! {
    pub(crate) fn weigh<E>(to: &mut [E], from: &[E], weight: f32) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = E::of(weight * from.to_f32());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check_gradient, noise};
    use crate::{Init, Layout, Pool};

    const MIXTRAL: Router = Router {
        top: 2,
        capacity: None,
        normalise: true,
        balance: 0.3,
        z: 0.2,
    };

    /// Rows for which no choice is so close that a difference quotient would cross it.
    fn params(layout: &Layout) -> Vec<f32> {
        noise(layout.len(), 11)
    }

    #[test]
    fn the_ways_back_are_the_derivatives() {
        let switch = Router {
            top: 1,
            capacity: Some(0.8),
            normalise: false,
            ..MIXTRAL
        };
        for router in [MIXTRAL, switch] {
            let mut layout = Layout::default();
            let x = layout.add("x", &[9, 6], Init::Zeros);
            let w = layout.add("router", &[4, 6], Init::Zeros);
            let up = layout.add("up", &[4, 5, 6], Init::Zeros);
            let down = layout.add("down", &[4, 6, 5], Init::Zeros);
            let (params, pool, weights) = (params(&layout), Pool::<f32>::default(), noise(54, 8));
            let run = |params: &[f32], gradient: &mut [f32]| {
                let mut tape = Tape::training(&pool, params, gradient);
                let x = tape.matrix(x);
                let route = tape.route(&x, w, router);
                let h = tape.dispatch(&x, &route);
                let h = tape.grouped_linear(&h, up, &route);
                let y = tape.grouped_linear(&h, down, &route);
                let y = tape.combine(x, &y, &route);
                tape.weigh(&y, &weights);
                let (loss, dropped) = (tape.loss(), route.dropped());
                drop((h, y));
                tape.backward();
                (loss, dropped)
            };
            let (mut gradient, mut none) = (vec![f32::NAN; params.len()], vec![0.0; params.len()]);
            let (_, dropped) = run(&params, &mut gradient);
            assert_eq!(dropped > 0, router.capacity.is_some());
            check_gradient(&params, &gradient, |params| run(params, &mut none).0);
        }
    }

    #[test]
    fn every_choice_has_its_place() {
        let p: Vec<f32> = noise(40 * 5, 2).iter().map(|x| x.abs() + 0.01).collect();
        let plan = Plan::new(&p, 5, MIXTRAL);
        assert_eq!(plan.sources.len(), 80);
        for (choice, &place) in plan.places.iter().enumerate() {
            assert_eq!(plan.sources[place as usize] as usize, choice / 2);
            assert!(plan.ranges[plan.chosen[choice] as usize].contains(&(place as usize)));
        }
        let full = Router {
            capacity: Some(0.5),
            ..MIXTRAL
        };
        let plan = Plan::new(&p, 5, full);
        assert!(plan.ranges.iter().all(|range| range.len() <= 8));
    }
}
