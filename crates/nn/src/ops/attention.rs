//! Attention, a block of queries at a time. The probabilities of a block are computed, used and forgotten;
//! the way back computes them again from the queries, the keys and each row's log-sum-exp (FlashAttention,
//! arXiv 2205.14135), so memory grows with t and not with t^2.
//!
//! A row of `qkv` holds h query heads, k key heads and k value heads of size d. Query head i reads key and
//! value head `i / (h / k)`. Keys that a query doesn't see are skipped by the block where no query of the
//! block sees them, so a causal mask halves the work and documents packed in a row cost what they cost alone.

use crate::cache::Remembered;
use crate::kernel::{Math, Target, Threads, View, product};
use crate::pool::Buffer;
use crate::simd::{dot, exp, exp_sum, max, vectorised};
use crate::tape::Back;
use crate::{Element, Tape, Var};
use rayon::prelude::*;
use std::ops::Range;

/// Queries in a block.
const BLOCK: usize = 64;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Rows of `qkv` that see each other.
    pub t: usize,
    /// Query heads.
    pub h: usize,
    /// Key and value heads.
    pub k: usize,
    /// Size of a head.
    pub d: usize,
}

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask<'a> {
    /// Those up to its own.
    Causal,
    /// All.
    Full,
    /// For each row of the batch, the first key that it sees and the one behind the last, in its sequence: a
    /// document packed with others, or a sequence shorter than the row. At least one key each.
    Spans(&'a [(u32, u32)]),
}

impl<'a, E: Element> Tape<'a, E> {
    /// What each query head reads: rows of `h * d`. `bias`, if any, is added to the scores: a row of t for
    /// each sequence, head and query.
    pub fn attention(
        &mut self,
        qkv: &Var<'a, E>,
        heads: Heads,
        mask: Mask<'a>,
        bias: Option<&Var<'a, E>>,
    ) -> Var<'a, E> {
        let (n, width) = (qkv.rows, heads.h * heads.d);
        assert_eq!(qkv.cols, heads.row(), "heads side by side");
        if let Some(cache) = &mut self.cache {
            let mut y = self.pool.take(n * width);
            attend(cache.layer(), heads, &qkv.buffer(), &mut y);
            return self.value(y, n, width);
        }
        assert!(n.is_multiple_of(heads.t), "whole sequences");
        let call = Call {
            heads,
            mask,
            b: n / heads.t,
        };
        let bias_rows = call.b * heads.h * heads.t;
        assert!(
            bias.is_none_or(|bias| (bias.rows, bias.cols) == (bias_rows, heads.t)),
            "a bias has a row of t for each sequence, head and query"
        );
        let mut y = self.pool.take(n * width);
        let mut lse = vec![0f32; n * heads.h];
        let added = bias.map(Var::buffer);
        call.forward(
            &qkv.buffer(),
            added.as_ref().map(|bias| &***bias),
            &mut y,
            &mut lse,
        );
        let y = self.value(y, n, width);
        let saved = (qkv.saved(), y.saved(), bias.map(Var::saved));
        self.note(&y, move |back, dy| {
            let (qkv, y, bias) = &saved;
            let added = bias.as_ref().map(|bias| (bias.id, bias.buffer()));
            call.way_back(back, (qkv.id, &qkv.buffer()), added, &y.buffer(), &lse, &dy);
        });
        y
    }
}

impl Heads {
    /// Elements in a row of `qkv`.
    pub fn row(self) -> usize {
        (self.h + 2 * self.k) * self.d
    }

    fn scale(self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }
}

/// One call's sizes.
#[derive(Clone, Copy)]
struct Call<'a> {
    heads: Heads,
    mask: Mask<'a>,
    b: usize,
}

/// A block of queries of one head, and the keys that any of them sees.
struct Part {
    /// Row of the block's first query in its sequence.
    q0: usize,
    /// Queries.
    m: usize,
    keys: Range<usize>,
}

/// A pointer that several tasks write through, each to places of its own.
struct Shared<T>(*mut T);
impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}
// SAFETY: the functions below say which task writes where.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

impl Call<'_> {
    /// Fills `y` (n rows of h * d) and `lse` (b * h * t log-sum-exps).
    fn forward<E: Element>(self, qkv: &[E], bias: Option<&[E]>, y: &mut [E], lse: &mut [f32]) {
        let Heads { t, h, k, d } = self.heads;
        let (row, width) = (self.heads.row(), h * d);
        let y = Shared(y.as_mut_ptr());
        let scores = || vec![0f32; BLOCK * t];
        lse.par_chunks_mut(t)
            .enumerate()
            .for_each_init(scores, |p, (task, lse)| {
                let (batch, head) = (task / h, task % h);
                let kv = head / (h / k);
                let rows = qkv[batch * t * row..].as_ptr();
                for q0 in (0..t).step_by(BLOCK) {
                    let Part { m, keys, .. } = &self.part(batch, q0);
                    let (m, n) = (*m, keys.len());
                    // SAFETY: all offsets stay within this batch's rows of `qkv`; this task alone writes the
                    // columns of its head in this batch's rows of `y`.
                    unsafe {
                        let q = View::at(rows.add(q0 * row + head * d), row);
                        let key = View::at(rows.add(keys.start * row + (h + kv) * d), row);
                        let value = View::at(rows.add(keys.start * row + (h + k + kv) * d), row);
                        let out = Target::at(y.at((batch * t + q0) * width + head * d), width);
                        let (to, math) = (Target::rows(p, n), Math::of::<E>());
                        product(
                            (m, n, d),
                            to,
                            false,
                            self.heads.scale(),
                            q,
                            key.t(),
                            math,
                            Threads::One,
                        );
                        let bias = bias.map(|bias| &bias[(task * t + q0) * t + keys.start..]);
                        let sees = self.sees(batch, q0, m, keys);
                        softmax(&mut p[..m * n], &mut lse[q0..q0 + m], &sees, bias, t);
                        product(
                            (m, d, n),
                            out,
                            false,
                            1.0,
                            View::rows(p, n),
                            value,
                            math,
                            Threads::One,
                        );
                    }
                }
            });
    }

    fn way_back<'a, E: Element>(
        self,
        back: &mut Back<'a, E>,
        (id, qkv): (usize, &[E]),
        bias: Option<(usize, std::rc::Rc<Buffer<'a, E>>)>,
        y: &[E],
        lse: &[f32],
        dy: &[E],
    ) {
        let mut dqkv = back.pool.take(qkv.len());
        let mut dbias = bias.as_ref().map(|(_, bias)| back.pool.zeros(bias.len()));
        let added = bias.as_ref().map(|(_, bias)| &***bias);
        let given = Given {
            qkv,
            bias: added,
            y,
            lse,
            dy,
        };
        self.backward(given, &mut dqkv, dbias.as_deref_mut());
        back.add(id, dqkv);
        if let (Some((id, _)), Some(dbias)) = (bias, dbias) {
            back.add(id, dbias);
        }
    }

    /// Sets `dqkv`, and what is seen of `dbias`.
    fn backward<E: Element>(self, given: Given<E>, dqkv: &mut [E], dbias: Option<&mut [E]>) {
        let Heads { t, h, k, d } = self.heads;
        let row = self.heads.row();
        let to = Shared(dqkv.as_mut_ptr());
        let dbias = dbias.map(|dbias| Shared(dbias.as_mut_ptr()));
        let work = || Work {
            p: vec![0f32; BLOCK * t],
            dp: vec![0f32; BLOCK * t],
            // Sums over query blocks and heads stay in f32 whatever the elements are.
            dk: vec![0f32; t * d],
            dv: vec![0f32; t * d],
        };
        (0..self.b * k).into_par_iter().for_each_init(work, |work, task| {
            let (batch, kv) = (task / k, task % k);
            work.dk.fill(0.0);
            work.dv.fill(0.0);
            for head in kv * (h / k)..(kv + 1) * (h / k) {
                for q0 in (0..t).step_by(BLOCK) {
                    let part = self.part(batch, q0);
                    // SAFETY: this task alone writes the columns of `dqkv` that belong to its key and value
                    // head and to the query heads it serves, and the rows of `dbias` of these.
                    unsafe { self.block(given, work, (batch, head, kv), &part, to, dbias) };
                }
            }
            for (column, sums) in [(h + kv, &work.dk), (h + k + kv, &work.dv)] {
                for (i, sums) in sums.chunks_exact(d).enumerate() {
                    let at = to.at((batch * t + i) * row + column * d);
                    // SAFETY: as above.
                    let slot = unsafe { std::slice::from_raw_parts_mut(at, d) };
                    slot.iter_mut()
                        .zip(sums)
                        .for_each(|(slot, sum)| *slot = E::of(*sum));
                }
            }
        });
    }

    /// One block of queries: sets its part of `dq`, adds to dk and dv.
    ///
    /// # Safety
    /// Nobody else touches the block's query columns behind `to` or its rows behind `dbias`.
    unsafe fn block<E: Element>(
        self,
        given: Given<E>,
        work: &mut Work,
        (batch, head, kv): (usize, usize, usize),
        part: &Part,
        to: Shared<E>,
        dbias: Option<Shared<E>>,
    ) {
        let Heads { t, h, k, d } = self.heads;
        let (row, width, math) = (self.heads.row(), h * d, Math::of::<E>());
        let (q0, m, n) = (part.q0, part.m, part.keys.len());
        let rows = given.qkv[batch * t * row..].as_ptr();
        let y_at = (batch * t + q0) * width + head * d;
        let scores_at = ((batch * h + head) * t + q0) * t + part.keys.start;
        // SAFETY: offsets stay within this batch's rows, and the caller's promise.
        unsafe {
            let q = View::at(rows.add(q0 * row + head * d), row);
            let key = View::at(rows.add(part.keys.start * row + (h + kv) * d), row);
            let value = View::at(rows.add(part.keys.start * row + (h + k + kv) * d), row);
            let g = View::at(given.dy.as_ptr().add(y_at), width);
            let (p, dp) = (Target::rows(&mut work.p, n), Target::rows(&mut work.dp, n));
            product(
                (m, n, d),
                p,
                false,
                self.heads.scale(),
                q,
                key.t(),
                math,
                Threads::One,
            );
            product((m, n, d), dp, false, 1.0, g, value.t(), math, Threads::One);
            let lse = &given.lse[(batch * h + head) * t + q0..][..m];
            let bias = given.bias.map(|bias| &bias[scores_at..]);
            let sees = self.sees(batch, q0, m, &part.keys);
            let (y, dy) = (&given.y[y_at..], &given.dy[y_at..]);
            softmax_backward(
                &mut work.p[..m * n],
                &mut work.dp[..m * n],
                lse,
                &sees,
                bias,
                t,
                y,
                dy,
                (d, width),
            );
            if let Some(dbias) = dbias {
                for (i, scores) in work.dp[..m * n].chunks_exact(n).enumerate() {
                    let slot = std::slice::from_raw_parts_mut(dbias.at(scores_at + i * t), n);
                    slot.iter_mut()
                        .zip(scores)
                        .for_each(|(slot, x)| *slot = E::of(*x));
                }
            }
            let (p, dp) = (View::rows(&work.p, n), View::rows(&work.dp, n));
            let dq = Target::at(to.at((batch * t + q0) * row + head * d), row);
            let scale = self.heads.scale();
            product((m, d, n), dq, false, scale, dp, key, math, Threads::One);
            let from = part.keys.start * d;
            let dk = Target::rows(&mut work.dk[from..], d);
            product((n, d, m), dk, true, scale, dp.t(), q, math, Threads::One);
            let dv = Target::rows(&mut work.dv[from..], d);
            product((n, d, m), dv, true, 1.0, p.t(), g, math, Threads::One);
        }
    }

    /// The block of queries from `q0` on.
    fn part(self, batch: usize, q0: usize) -> Part {
        let m = BLOCK.min(self.heads.t - q0);
        let spans = (q0..q0 + m).map(|q| self.span(batch, q));
        let keys = spans.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
        let keys = keys.expect("a block has queries");
        Part { q0, m, keys }
    }

    /// The keys that a query sees.
    fn span(self, batch: usize, q: usize) -> Range<usize> {
        match self.mask {
            Mask::Causal => 0..q + 1,
            Mask::Full => 0..self.heads.t,
            Mask::Spans(spans) => {
                let (start, end) = spans[batch * self.heads.t + q];
                start as usize..end as usize
            }
        }
    }

    /// For each query of a block the keys it sees, counted from the block's first.
    fn sees(self, batch: usize, q0: usize, m: usize, keys: &Range<usize>) -> Vec<Range<usize>> {
        let spans = (q0..q0 + m).map(|q| self.span(batch, q));
        spans.map(|s| s.start - keys.start..s.end - keys.start).collect()
    }
}

/// What the way back reads.
#[derive(Clone, Copy)]
struct Given<'a, E> {
    qkv: &'a [E],
    bias: Option<&'a [E]>,
    y: &'a [E],
    lse: &'a [f32],
    dy: &'a [E],
}

/// A task's own arrays.
struct Work {
    p: Vec<f32>,
    dp: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

// Rows of a block of scores become probabilities; keys that a query doesn't see get 0. Rows of `bias` lie t
// apart.
vectorised! {
    pub(crate) fn softmax<E>(p: &mut [f32], lse: &mut [f32], sees: &[Range<usize>], bias: Option<&[E]>, t: usize) {
        let n = p.len() / sees.len();
        for (i, ((row, lse), sees)) in p.chunks_exact_mut(n).zip(lse).zip(sees).enumerate() {
            if let Some(bias) = bias {
                row.iter_mut().zip(&bias[i * t..]).for_each(|(p, bias)| *p += bias.to_f32());
            }
            row[..sees.start].fill(0.0);
            row[sees.end..].fill(0.0);
            let row = &mut row[sees.clone()];
            let highest = max(row);
            let sum = exp_sum(row, highest);
            let scale = 1.0 / sum;
            for p in row.iter_mut() {
                *p *= scale;
            }
            *lse = highest + sum.ln();
        }
    }
}

// Scores become probabilities again, and dp becomes the scores' gradient: p (dp - dy . y).
vectorised! {
    pub(crate) fn softmax_backward<E>(
        p: &mut [f32], dp: &mut [f32], lse: &[f32], sees: &[Range<usize>], bias: Option<&[E]>, t: usize,
        y: &[E], dy: &[E], size: (usize, usize),
    ) {
        let (n, (d, width)) = (p.len() / sees.len(), size);
        let rows = p.chunks_exact_mut(n).zip(dp.chunks_exact_mut(n)).zip(lse).zip(sees);
        for (i, (((p, dp), lse), sees)) in rows.enumerate() {
            if let Some(bias) = bias {
                p.iter_mut().zip(&bias[i * t..]).for_each(|(p, bias)| *p += bias.to_f32());
            }
            let along = dot(&dy[i * width..][..d], &y[i * width..][..d]);
            for row in [&mut *p, &mut *dp] {
                row[..sees.start].fill(0.0);
                row[sees.end..].fill(0.0);
            }
            for (p, dp) in p[sees.clone()].iter_mut().zip(dp[sees.clone()].iter_mut()) {
                *p = exp(*p - lse);
                *dp = *p * (*dp - along);
            }
        }
    }
}

/// Queries on the keys and values so far and their own, as decoding does it.
fn attend<E: Element>(layer: &mut Remembered, heads: Heads, qkv: &[E], y: &mut [E]) {
    let Heads { h, k, d, .. } = heads;
    for (row, y) in qkv.chunks_exact(heads.row()).zip(y.chunks_exact_mut(h * d)) {
        let row: Vec<f32> = row.iter().map(|x| x.to_f32()).collect();
        layer.rows.extend_from_slice(&row[h * d..]);
        let mut read = vec![0f32; h * d];
        for (head, read) in read.chunks_exact_mut(d).enumerate() {
            attend_one(&row[head * d..][..d], &layer.rows, head / (h / k), k, read);
        }
        y.iter_mut().zip(read).for_each(|(y, x)| *y = E::of(x));
    }
}

// Rows of the cache hold k key heads and then k value heads.
vectorised! {
    pub(crate) fn attend_one(q_d: &[f32], cache: &[f32], kv_head: usize, kv_heads: usize, y_d: &mut [f32]) {
        let d = q_d.len();
        let rows = cache.chunks_exact(2 * kv_heads * d);
        let scale = 1.0 / (d as f32).sqrt();
        let mut p: Vec<f32> = rows.clone().map(|row| dot(q_d, &row[kv_head * d..][..d]) * scale).collect();
        let highest = max(&p);
        let sum = exp_sum(&mut p, highest);
        for (row, p) in rows.zip(p) {
            let v = &row[(kv_heads + kv_head) * d..][..d];
            for i in 0..d {
                y_d[i] = (p / sum).mul_add(v[i], y_d[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{check, noise};
    use crate::{Init, Layout, Pool};

    /// As the formula says it, with every score at once.
    fn plain(call: Call, qkv: &[f32], bias: &[f32]) -> Vec<f32> {
        let Heads { t, h, k, d } = call.heads;
        let mut y = vec![0f32; call.b * t * h * d];
        let at = |b: usize, t_: usize, slot: usize| &qkv[(b * t + t_) * call.heads.row() + slot * d..][..d];
        for (b, head, q) in (0..call.b).flat_map(|b| (0..h).flat_map(move |h| (0..t).map(move |q| (b, h, q))))
        {
            let kv = head / (h / k);
            let score = |key: usize| {
                let (q_d, k_d) = (at(b, q, head), at(b, key, h + kv));
                let along = q_d.iter().zip(k_d).map(|(q, k)| q * k).sum::<f32>() * call.heads.scale();
                (along + bias[((b * h + head) * t + q) * t + key]).exp()
            };
            let total: f32 = call.span(b, q).map(score).sum();
            for key in call.span(b, q) {
                let p = score(key) / total;
                for (i, v) in at(b, key, h + k + kv).iter().enumerate() {
                    y[(b * t + q) * h * d + head * d + i] += p * v;
                }
            }
        }
        y
    }

    #[test]
    fn it_is_the_formula_and_its_derivative() {
        let heads = |t, h, k, d| Heads { t, h, k, d };
        // Three documents in a row of 131, each causal.
        let starts = |q: u32| [0, 40, 100].into_iter().rfind(|&s| s <= q).unwrap();
        let spans: Vec<(u32, u32)> = (0..131).map(|q| (starts(q), q + 1)).collect();
        let cases = [
            (heads(5, 2, 2, 4), 2, Mask::Causal),
            (heads(64, 2, 1, 2), 1, Mask::Full),
            (heads(131, 4, 2, 4), 1, Mask::Causal),
            (heads(131, 2, 2, 2), 1, Mask::Spans(spans.leak())),
        ];
        for (heads, b, mask) in cases {
            let mut layout = Layout::default();
            let qkv = layout.add("qkv", &[b * heads.t, heads.row()], Init::Zeros);
            let bias = layout.add("bias", &[b * heads.h * heads.t, heads.t], Init::Zeros);
            let params = noise(layout.len(), 1);
            let pool = Pool::<f32>::default();
            let mut tape = Tape::inference(&pool, &params);
            let (x, added) = (tape.matrix(qkv), tape.matrix(bias));
            let y = tape.attention(&x, heads, mask, Some(&added));
            let expected = plain(
                Call { heads, mask, b },
                &params[qkv.range()],
                &params[bias.range()],
            );
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
            assert!(tape.read(&y).iter().zip(&expected).all(near), "{heads:?}");
            check(&params, |tape| {
                let (x, bias) = (tape.matrix(qkv), tape.matrix(bias));
                tape.attention(&x, heads, mask, Some(&bias))
            });
        }
    }
}
