//! Layers on rows of numbers, as ESMFold's trunk and structure module use them.

use super::tensors::Tensors;
use nn::{Math, Matrix, matmul};
use rayon::prelude::*;

/// Rows that a task takes.
const ROWS: usize = 64;
/// What keeps a norm from dividing by nothing: PyTorch's.
const EPS: f32 = 1e-5;

/// `x w^T`, with a bias or without.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    from: usize,
    pub(super) to: usize,
}

impl Linear {
    /// With a bias.
    pub(super) fn read(tensors: &Tensors, name: &str, from: usize, to: usize) -> Result<Self, nn::Error> {
        let bias = Some(tensors.read(&format!("{name}.bias"), &[to])?);
        Ok(Self {
            bias,
            ..Self::without_bias(tensors, name, from, to)?
        })
    }

    pub(super) fn without_bias(
        tensors: &Tensors,
        name: &str,
        from: usize,
        to: usize,
    ) -> Result<Self, nn::Error> {
        Ok(Self {
            weights: tensors.read(&format!("{name}.weight"), &[to, from])?,
            bias: None,
            from,
            to,
        })
    }

    /// Of each row of `x`.
    pub(super) fn of(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.from;
        let mut y = vec![0.0; rows * self.to];
        if rows == 0 {
            return y;
        }
        if let Some(bias) = &self.bias {
            y.par_chunks_mut(self.to)
                .for_each(|row| row.copy_from_slice(bias));
        }
        let weights = Matrix::new(&self.weights, self.to).t();
        matmul(&mut y, true, 1.0, Matrix::new(x, rows), weights, Math::F32);
        y
    }
}

/// Rows of mean 0 and variance 1, then a gain and a bias.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    pub(super) fn read(tensors: &Tensors, name: &str, width: usize) -> Result<Self, nn::Error> {
        Ok(Self {
            gain: tensors.read(&format!("{name}.weight"), &[width])?,
            bias: tensors.read(&format!("{name}.bias"), &[width])?,
        })
    }

    pub(super) fn of(&self, x: &[f32]) -> Vec<f32> {
        let width = self.gain.len();
        let mut y = x.to_vec();
        y.par_chunks_mut(width * ROWS).for_each(|rows| {
            for row in rows.chunks_exact_mut(width) {
                let mean = row.iter().sum::<f32>() / width as f32;
                let square = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
                let scale = 1.0 / (square + EPS).sqrt();
                for ((x, gain), bias) in row.iter_mut().zip(&self.gain).zip(&self.bias) {
                    *x = (*x - mean) * scale * gain + bias;
                }
            }
        });
        y
    }
}

/// `x + y`.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// What is below zero is zero.
pub(super) fn relu(mut x: Vec<f32>) -> Vec<f32> {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
    x
}

/// `x sigmoid(gate)`.
pub(super) fn gated(mut x: Vec<f32>, gate: &[f32]) -> Vec<f32> {
    let pairs = x.par_iter_mut().zip(gate);
    pairs.for_each(|(x, gate)| *x /= 1.0 + (-gate).exp());
    x
}

/// Makes a row sum up to one, by exponentials.
pub(super) fn softmax(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - most).exp();
        sum += *x;
    }
    row.iter_mut().for_each(|x| *x /= sum);
}

/// Heads that read each other: query, key and value, each of one row of `heads * d` for each of `n`. `bias`, if
/// any, is added to the scores: for each head n rows of n.
pub(super) fn attend(
    [query, key, value]: [&[f32]; 3],
    (n, heads, d): (usize, usize, usize),
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let mut y = vec![0.0; n * heads * d];
    for head in 0..heads {
        let own = |x: &[f32]| -> Vec<f32> {
            let rows = x.chunks_exact(heads * d);
            rows.flat_map(|row| &row[head * d..(head + 1) * d])
                .copied()
                .collect()
        };
        let [q, k, v] = [own(query), own(key), own(value)];
        let mut scores = match bias {
            Some(bias) => bias[head * n * n..(head + 1) * n * n].to_vec(),
            None => vec![0.0; n * n],
        };
        let scale = 1.0 / (d as f32).sqrt();
        matmul(
            &mut scores,
            true,
            scale,
            Matrix::new(&q, n),
            Matrix::new(&k, n).t(),
            Math::F32,
        );
        scores.chunks_exact_mut(n).for_each(softmax);
        let mut read = vec![0.0; n * d];
        matmul(
            &mut read,
            false,
            1.0,
            Matrix::new(&scores, n),
            Matrix::new(&v, n),
            Math::F32,
        );
        for (to, from) in y.chunks_exact_mut(heads * d).zip(read.chunks_exact(d)) {
            to[head * d..(head + 1) * d].copy_from_slice(from);
        }
    }
    y
}

/// Rows of `cols` as columns.
pub(super) fn transposed(x: &[f32], cols: usize) -> Vec<f32> {
    let rows = x.len() / cols.max(1);
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(rows.max(1)).enumerate().for_each(|(j, column)| {
        for (i, to) in column.iter_mut().enumerate() {
            *to = x[i * cols + j];
        }
    });
    y
}
