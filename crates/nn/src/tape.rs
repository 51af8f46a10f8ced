//! What a model did on the way to its loss, so that the way back can be gone.
//!
//! Operations are coarse (a linear layer, an attention, a norm), run at once, and leave a closure that turns
//! the gradient of what they made into the gradients of what they read. There is no graph of elements. A
//! value lives as long as somebody needs it: the model's code, or an operation's way back. What is cheap to
//! compute (norms, gates) isn't kept for the way back but computed again there; [`Tape::recompute`] does the
//! same with whole blocks.
//!
//! A loss is an operation without a result: it adds to what is minimised. So the head's loss can be computed
//! a chunk of rows at a time, with its gradient, on the way forwards.

use crate::pool::{Buffer, Pool};
use crate::{Bf16, Cache, Element, Param, ops};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A model's run over a batch. `'a` is the life of parameters and data.
pub struct Tape<'a, E: Element> {
    pub(crate) params: &'a [f32],
    pub(crate) pool: &'a Pool<E>,
    /// Where the parameters' gradient goes; None where nobody wants it.
    pub(crate) gradient: Option<Gradient<'a>>,
    pub(crate) cache: Option<&'a mut Cache>,
    /// The parameters in 16 bits: products of a single row, which only wait for memory, read these.
    pub(crate) halves: Option<&'a [Bf16]>,
    nodes: Vec<Node<'a, E>>,
    values: usize,
    loss: f64,
    /// What part of the whole step this batch is: losses and gradients are multiplied by it.
    pub(crate) share: f32,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Losses count and the way back is noted.
    Record,
    /// Losses count; the way back is not noted, because nobody wants it or the block is computed again.
    Pass,
    /// A block once more: its losses counted the first time.
    Again,
}

/// A value: rows of columns. Cloning it copies nothing.
pub struct Var<'a, E: Element> {
    handle: Rc<Handle<'a, E>>,
    id: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

/// A value as the way back keeps it.
pub(crate) struct Saved<'a, E: Element> {
    value: Rc<Value<'a, E>>,
    pub(crate) id: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// What the model's code holds on to. When the last one goes, a value that can be had again is let go.
struct Handle<'a, E: Element>(Rc<Value<'a, E>>);

struct Value<'a, E: Element> {
    kept: RefCell<Option<Rc<Buffer<'a, E>>>>,
    again: Option<Box<dyn Fn() -> Buffer<'a, E> + 'a>>,
}

struct Node<'a, E: Element> {
    /// The value it made; a loss made none.
    out: Option<usize>,
    backward: Box<Backward<'a, E>>,
}

type Backward<'a, E> = dyn FnOnce(&mut Back<'a, E>, Buffer<'a, E>) + 'a;

/// The way back: gradients of values that are known so far, and of the parameters.
pub(crate) struct Back<'a, E: Element> {
    pub(crate) params: &'a [f32],
    pub(crate) pool: &'a Pool<E>,
    pub(crate) gradient: Gradient<'a>,
    pub(crate) share: f32,
    slots: Vec<Option<Buffer<'a, E>>>,
}

/// The parameters' gradient. What is written first is set and not added, so nobody has to clear it.
#[derive(Default)]
pub(crate) struct Gradient<'a> {
    values: &'a mut [f32],
    /// Written so far: starts and ends.
    touched: BTreeMap<usize, usize>,
}

impl<'a, E: Element> Tape<'a, E> {
    /// A run that wants the gradient: [`Tape::backward`] sets it whole.
    pub fn training(pool: &'a Pool<E>, params: &'a [f32], gradient: &'a mut [f32]) -> Self {
        assert_eq!(
            params.len(),
            gradient.len(),
            "the gradient is as long as the parameters"
        );
        let gradient = Gradient {
            values: gradient,
            touched: BTreeMap::new(),
        };
        Self {
            gradient: Some(gradient),
            mode: Mode::Record,
            ..Self::inference(pool, params)
        }
    }

    /// The same, and the batch is the part `share` of a step: `gradient` holds the sum of the parts before,
    /// unless this is the `first`.
    pub fn accumulating(
        pool: &'a Pool<E>,
        params: &'a [f32],
        gradient: &'a mut [f32],
        first: bool,
        share: f32,
    ) -> Self {
        let mut tape = Self::training(pool, params, gradient);
        tape.share = share;
        if let (false, Some(gradient)) = (first, &mut tape.gradient) {
            gradient.touched.insert(0, params.len());
        }
        tape
    }

    /// A run that wants the values or the loss alone.
    pub fn inference(pool: &'a Pool<E>, params: &'a [f32]) -> Self {
        Self {
            params,
            pool,
            gradient: None,
            cache: None,
            halves: None,
            nodes: Vec::new(),
            values: 0,
            loss: 0.0,
            share: 1.0,
            mode: Mode::Pass,
        }
    }

    /// A run whose attention sees what `cache` remembers, and adds to it.
    pub fn remembering(pool: &'a Pool<E>, params: &'a [f32], cache: &'a mut Cache) -> Self {
        cache.begin();
        Self {
            cache: Some(cache),
            ..Self::inference(pool, params)
        }
    }

    /// Products of a single row read `halves`, the parameters in 16 bits: half the memory to wait for, and
    /// weights that are rounded.
    pub fn with_halves(self, halves: &'a [Bf16]) -> Self {
        assert_eq!(halves.len(), self.params.len(), "as many halves as parameters");
        Self {
            halves: Some(halves),
            ..self
        }
    }

    /// What is minimised, so far.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Goes the way back, and sets the gradient whole.
    pub fn backward(mut self) {
        let gradient = self.gradient.take().expect("a tape made for training");
        let mut back = Back {
            params: self.params,
            pool: self.pool,
            gradient,
            share: self.share,
            slots: Vec::new(),
        };
        run_back(self.nodes, &mut back);
        back.gradient.finish();
    }

    /// Runs `block`, keeps nothing of it but `x`, and runs it again on the way back: memory for time.
    pub fn recompute<F>(&mut self, x: Var<'a, E>, block: F) -> Var<'a, E>
    where
        F: Fn(&mut Self, Var<'a, E>) -> Var<'a, E> + 'a,
    {
        if self.mode != Mode::Record {
            return block(self, x);
        }
        let input = x.saved();
        self.mode = Mode::Pass;
        let y = block(self, x);
        self.mode = Mode::Record;
        self.note(&y, move |back, dy| {
            let mut again = Tape {
                gradient: Some(std::mem::take(&mut back.gradient)),
                mode: Mode::Again,
                share: back.share,
                ..Tape::inference(back.pool, back.params)
            };
            let x = again.value_of(input.buffer(), input.rows, input.cols);
            let x_id = x.id;
            let y = block(&mut again, x);
            let mut within = Back {
                params: back.params,
                pool: back.pool,
                gradient: again.gradient.take().expect("it was given above"),
                share: back.share,
                slots: Vec::new(),
            };
            within.add(y.id, dy);
            drop(y);
            run_back(again.nodes, &mut within);
            let dx = within.take(x_id);
            back.gradient = within.gradient;
            if let Some(dx) = dx {
                back.add(input.id, dx);
            }
        });
        y
    }

    /// The elements of a value, widened.
    pub fn read(&self, x: &Var<'a, E>) -> Vec<f32> {
        x.buffer().iter().map(|x| x.to_f32()).collect()
    }

    /// A value from outside, of `cols` columns. Nothing flows back to it.
    pub fn input(&mut self, elements: &[f32], cols: usize) -> Var<'a, E> {
        assert!(elements.len().is_multiple_of(cols), "whole rows");
        let mut buffer = self.pool.take(elements.len());
        for (to, from) in buffer.iter_mut().zip(elements) {
            *to = E::of(*from);
        }
        self.value(buffer, elements.len() / cols, cols)
    }

    /// Whether the way back is wanted.
    pub(crate) fn records(&self) -> bool {
        self.mode != Mode::Pass
    }

    /// A new value.
    pub(crate) fn value(&mut self, buffer: Buffer<'a, E>, rows: usize, cols: usize) -> Var<'a, E> {
        self.value_of(Rc::new(buffer), rows, cols)
    }

    fn value_of(&mut self, buffer: Rc<Buffer<'a, E>>, rows: usize, cols: usize) -> Var<'a, E> {
        assert_eq!(buffer.len(), rows * cols, "rows of columns");
        self.add_value(Some(buffer), None, rows, cols)
    }

    /// A new value that is cheap to have again: it is not kept for the way back.
    pub(crate) fn cheap(
        &mut self,
        rows: usize,
        cols: usize,
        again: impl Fn() -> Buffer<'a, E> + 'a,
    ) -> Var<'a, E> {
        let kept = Some(Rc::new(again()));
        if self.records() {
            self.add_value(kept, Some(Box::new(again)), rows, cols)
        } else {
            self.add_value(kept, None, rows, cols)
        }
    }

    fn add_value(
        &mut self,
        kept: Option<Rc<Buffer<'a, E>>>,
        again: Option<Box<dyn Fn() -> Buffer<'a, E> + 'a>>,
        rows: usize,
        cols: usize,
    ) -> Var<'a, E> {
        let id = self.values;
        self.values += 1;
        let kept = RefCell::new(kept);
        Var {
            handle: Rc::new(Handle(Rc::new(Value { kept, again }))),
            id,
            rows,
            cols,
        }
    }

    /// Notes how the gradient of `out` becomes those of what it was made of.
    pub(crate) fn note(
        &mut self,
        out: &Var<'a, E>,
        backward: impl FnOnce(&mut Back<'a, E>, Buffer<'a, E>) + 'a,
    ) {
        if self.records() {
            self.nodes.push(Node {
                out: Some(out.id),
                backward: Box::new(backward),
            });
        }
    }

    /// Adds a loss, and the gradient that it has with respect to `x` already.
    pub(crate) fn note_loss(&mut self, loss: f64, x: &Saved<'a, E>, dx: Option<Buffer<'a, E>>) {
        let id = x.id;
        self.note_end(loss, move |back| {
            if let Some(dx) = dx {
                back.add(id, dx);
            }
        });
    }

    /// Adds a loss, and how it flows back.
    pub(crate) fn note_end(&mut self, loss: f64, backward: impl FnOnce(&mut Back<'a, E>) + 'a) {
        if self.mode != Mode::Again {
            self.loss += loss * f64::from(self.share);
        }
        if self.records() {
            self.nodes.push(Node {
                out: None,
                backward: Box::new(|back, _| backward(back)),
            });
        }
    }
}

fn run_back<'a, E: Element>(nodes: Vec<Node<'a, E>>, back: &mut Back<'a, E>) {
    for Node { out, backward } in nodes.into_iter().rev() {
        // What has no gradient was not used.
        let gradient = match out {
            Some(id) => back.take(id),
            None => Some(back.pool.take(0)),
        };
        if let Some(gradient) = gradient {
            backward(back, gradient);
        }
    }
}

impl<'a, E: Element> Var<'a, E> {
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    pub(crate) fn buffer(&self) -> Rc<Buffer<'a, E>> {
        self.handle.0.buffer()
    }

    pub(crate) fn saved(&self) -> Saved<'a, E> {
        Saved {
            value: Rc::clone(&self.handle.0),
            id: self.id,
            rows: self.rows,
            cols: self.cols,
        }
    }

    /// Its elements to write over: its own where nobody else needs them, else a copy.
    pub(crate) fn into_buffer(self, pool: &'a Pool<E>) -> Buffer<'a, E> {
        let buffer = self.buffer();
        let alone = Rc::strong_count(&self.handle) == 1 && Rc::strong_count(&self.handle.0) == 1;
        if alone {
            self.handle.0.kept.take();
        }
        match Rc::try_unwrap(buffer) {
            Ok(buffer) => buffer,
            Err(shared) => pool.copy(&shared),
        }
    }
}

impl<E: Element> Clone for Var<'_, E> {
    fn clone(&self) -> Self {
        Self {
            handle: Rc::clone(&self.handle),
            ..*self
        }
    }
}

impl<E: Element> fmt::Debug for Var<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "value {} of {} x {}", self.id, self.rows, self.cols)
    }
}

impl<E: Element> fmt::Debug for Tape<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "tape of {} operations, loss {}", self.nodes.len(), self.loss)
    }
}

impl<'a, E: Element> Saved<'a, E> {
    pub(crate) fn buffer(&self) -> Rc<Buffer<'a, E>> {
        self.value.buffer()
    }

    /// Lets go of elements that can be had again, if nobody else waits for them: what comes next may take their place.
    pub(crate) fn let_go(&self) {
        if Rc::strong_count(&self.value) == 1 && self.value.again.is_some() {
            self.value.kept.take();
        }
    }
}

impl<'a, E: Element> Value<'a, E> {
    fn buffer(&self) -> Rc<Buffer<'a, E>> {
        let mut kept = self.kept.borrow_mut();
        let again = || Rc::new(self.again.as_ref().expect("it is kept or can be had again")());
        Rc::clone(kept.get_or_insert_with(again))
    }
}

impl<E: Element> Drop for Handle<'_, E> {
    fn drop(&mut self) {
        if self.0.again.is_some() {
            self.0.kept.take();
        }
    }
}

impl<'a, E: Element> Back<'a, E> {
    /// Adds to a value's gradient.
    pub(crate) fn add(&mut self, id: usize, gradient: Buffer<'a, E>) {
        let (mut there, add) = self.open(id, gradient.len());
        if add {
            ops::add(&mut there, &gradient);
            self.close(id, there);
        } else {
            self.close(id, gradient);
        }
    }

    /// A value's gradient to be written, and whether to add to what is in it. [`Back::close`] puts it back.
    pub(crate) fn open(&mut self, id: usize, len: usize) -> (Buffer<'a, E>, bool) {
        match self.take(id) {
            Some(gradient) => (gradient, true),
            None => (self.pool.take(len), false),
        }
    }

    pub(crate) fn close(&mut self, id: usize, gradient: Buffer<'a, E>) {
        if self.slots.len() <= id {
            self.slots.resize_with(id + 1, || None);
        }
        self.slots[id] = Some(gradient);
    }

    fn take(&mut self, id: usize) -> Option<Buffer<'a, E>> {
        self.slots.get_mut(id).and_then(Option::take)
    }
}

impl Gradient<'_> {
    /// A parameter's gradient to be written, and whether to add to what is in it.
    pub(crate) fn open(&mut self, param: Param) -> (&mut [f32], bool) {
        let range = param.range();
        let before = self.touched.range(..=range.start).next_back();
        let there = before.is_some_and(|(_, &end)| end >= range.end);
        if !there {
            self.touched.insert(range.start, range.end);
        }
        (&mut self.values[range], there)
    }

    /// Clears what nobody wrote.
    fn finish(self) {
        let mut next = 0;
        for (start, end) in self.touched {
            if start > next {
                self.values[next..start].fill(0.0);
            }
            next = next.max(end);
        }
        self.values[next..].fill(0.0);
    }
}
