//! Where each tensor of a model lies in the flat vector of its parameters.
//!
//! ```
//! use nn::{Init, Layout};
//! let mut layout = Layout::default();
//! let q = layout.add("q_proj.weight", &[32, 16], Init::Normal(0.02));
//! let k = layout.add("k_proj.weight", &[8, 16], Init::Normal(0.02));
//! let both = q.and(k); // tensors that lie side by side are one matrix to a product
//! assert_eq!((both.rows, both.cols, layout.len()), (40, 16, 640));
//! ```

use std::ops::Range;

/// All tensors of a model, in the order in which they lie.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// The tensors.
    pub tensors: Vec<Tensor>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name, as the family's models have it on Hugging Face.
    pub name: String,
    /// Its sizes; the last varies fastest.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub range: Range<usize>,
    /// What a new model has there.
    pub init: Init,
}

/// What a new model has in a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
    /// Nearly normal, with mean 0 and this deviation.
    Normal(f32),
}

/// A matrix, or a vector of one row, among the parameters: what operations take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    start: usize,
    /// Rows: what a product gives.
    pub rows: usize,
    /// Columns: what it takes.
    pub cols: usize,
}

impl Layout {
    /// Adds a tensor behind the others. Of more than two sizes, all but the last are rows.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> Param {
        let start = self.len();
        let cols = shape.last().copied().expect("a tensor has a shape");
        let rows = shape[..shape.len() - 1].iter().product();
        self.tensors.push(Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            range: start..start + rows * cols,
            init,
        });
        Param { start, rows, cols }
    }

    /// Parameters.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.range.end)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parameters of a new model. They come from integers and IEEE additions and products alone, so a
    /// seed means the same bits on every machine: sites agree on the first weights without sending them.
    pub fn new_params(&self, seed: u64) -> Vec<f32> {
        let mut params = vec![0f32; self.len()];
        for tensor in &self.tensors {
            let values = &mut params[tensor.range.clone()];
            match tensor.init {
                Init::Zeros => (),
                Init::Ones => values.fill(1.0),
                Init::Normal(deviation) => {
                    for (x, i) in values.iter_mut().zip(tensor.range.start as u64..) {
                        *x = deviation * bell(seed, i);
                    }
                }
            }
        }
        params
    }
}

impl Param {
    /// Where its elements lie.
    pub fn range(self) -> Range<usize> {
        self.start..self.start + self.rows * self.cols
    }

    /// This and the tensor right behind it as one, with the rows of both.
    pub fn and(self, next: Self) -> Self {
        assert_eq!(
            (self.range().end, self.cols),
            (next.start, next.cols),
            "tensors that lie side by side and have as many columns"
        );
        Self {
            rows: self.rows + next.rows,
            ..self
        }
    }

    /// Matrix `index` of `count` that are stacked in this one.
    pub fn part(self, index: usize, count: usize) -> Self {
        assert!(index < count && self.rows.is_multiple_of(count), "equal parts");
        let rows = self.rows / count;
        Self {
            start: self.start + index * rows * self.cols,
            rows,
            ..self
        }
    }
}

/// Nearly normal with mean 0 and deviation 1: the sum of twelve uniform numbers less six (Irwin-Hall). Needs
/// no logarithm, whose last bit differs between machines.
fn bell(seed: u64, index: u64) -> f32 {
    let mut state = seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut sum = 0u64;
    for _ in 0..4 {
        // SplitMix64; each output is three uniform numbers of 21 bits.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = z ^ (z >> 31);
        sum += (z & 0x1F_FFFF) + ((z >> 21) & 0x1F_FFFF) + ((z >> 42) & 0x1F_FFFF);
    }
    sum as f32 * (1.0 / 2_097_152.0) - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_weights_have_the_right_spread() {
        let mut layout = Layout::default();
        layout.add("gain", &[64], Init::Ones);
        let matrix = layout.add("matrix", &[256, 512], Init::Normal(0.02));
        let params = layout.new_params(9);
        assert!(params[..64].iter().all(|&x| x == 1.0));
        let values = &params[matrix.range()];
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let spread = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
        assert!(
            mean.abs() < 2e-4 && (spread - 0.02).abs() < 1e-4,
            "{mean} {spread}"
        );
    }

    #[test]
    fn parts_cover_a_stack() {
        let mut layout = Layout::default();
        layout.add("first", &[3], Init::Zeros);
        let stack = layout.add("stack", &[4, 5, 6], Init::Zeros);
        assert_eq!((stack.rows, stack.cols), (20, 6));
        assert_eq!(stack.part(0, 4).range(), 3..33);
        assert_eq!(stack.part(3, 4).range(), 93..123);
    }
}
