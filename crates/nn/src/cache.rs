//! Keys and values of what was read so far, so that the next token costs one row.

/// What attention remembers of a sequence.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    layers: Vec<Remembered>,
    next: usize,
    position: usize,
}

/// One layer's rows: key heads, then value heads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered {
    pub(crate) rows: Vec<f32>,
}

impl Cache {
    /// Rows that are remembered.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Counts rows that a run has read.
    pub fn advance(&mut self, rows: usize) {
        self.position += rows;
    }

    /// A run begins with the first layer.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
    }

    /// The layer whose attention runs now.
    pub(crate) fn layer(&mut self) -> &mut Remembered {
        if self.next == self.layers.len() {
            self.layers.push(Remembered::default());
        }
        self.next += 1;
        &mut self.layers[self.next - 1]
    }
}
