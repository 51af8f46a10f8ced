//! Named tensors in a safetensors file, written so that a kill at any moment leaves the last good file, and
//! read so that no file, however damaged, does more than give an error.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use nn::Checkpoint;
//! let path = dir.path().join("small.safetensors");
//! let mut checkpoint = Checkpoint::default();
//! checkpoint.push("bias", &[3], vec![1.0, 2.0, 3.0]);
//! checkpoint.write(&path)?;
//! assert_eq!(Checkpoint::read(&path)?.tensor("bias", &[3])?, [1.0, 2.0, 3.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is too large to be in memory twice is read with a [`TensorFile`] and written with a [`TensorWriter`],
//! a tensor at a time.

use crate::{Bf16, Element};
use safetensors::tensor::{self, Metadata, SafeTensors, TensorInfo, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Elements that are widened or narrowed at one time.
const CHUNK: usize = 1 << 16;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// Named tensors of 32-bit floats, and words about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    /// Name, shape and values, row by row.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Words by key.
    pub metadata: BTreeMap<String, String>,
}

/// Why a checkpoint can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file can't be reached.
    #[error("checkpoint {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is no whole safetensors file.
    #[error(
        "checkpoint {path} is damaged: {what} ({size} bytes); fetch it again, or take an earlier checkpoint"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// How large it is.
        size: u64,
    },
    /// The file is whole and holds something else than was expected.
    #[error("the checkpoint doesn't fit: {0}")]
    Content(String),
}

impl Checkpoint {
    /// Adds a tensor.
    pub fn push(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "{name} has as many values as its shape says"
        );
        self.tensors.push((name.to_owned(), shape.to_vec(), values));
    }

    /// The values of a tensor, if it is there in this shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<&[f32], CheckpointError> {
        let found = self.tensors.iter().find(|(other, _, _)| other == name);
        let (_, is, values) =
            found.ok_or_else(|| CheckpointError::content(format!("it has no tensor {name}")))?;
        if is != shape {
            return Err(CheckpointError::content(format!(
                "tensor {name} has shape {is:?}, not {shape:?}"
            )));
        }
        Ok(values)
    }

    /// What is said under `key`.
    pub fn metadata(&self, key: &str) -> Result<&str, CheckpointError> {
        let word = self.metadata.get(key).map(String::as_str);
        word.ok_or_else(|| CheckpointError::content(format!("it says nothing about {key:?}")))
    }

    /// Reads a file. Tensors of F16 and BF16 are widened.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(|error| CheckpointError::File {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&bytes).map_err(|what| CheckpointError::Damaged {
            path: path.to_owned(),
            what,
            size: bytes.len() as u64,
        })
    }

    /// Reads the bytes of a file; any bytes give a checkpoint or words about what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let words = header.metadata().iter().flatten();
        let mut checkpoint = Self {
            metadata: words.map(|(k, v)| (k.clone(), v.clone())).collect(),
            ..Self::default()
        };
        let mut names: Vec<&str> = file.names();
        names.sort_unstable();
        for name in names {
            let view = file.tensor(name).map_err(|e| e.to_string())?;
            let width = width(name, view.dtype())?;
            let mut values = vec![0f32; view.data().len() / width];
            widen(view.dtype(), view.data(), &mut values);
            checkpoint
                .tensors
                .push((name.to_owned(), view.shape().to_vec(), values));
        }
        Ok(checkpoint)
    }

    /// Writes the file beside its place, flushes it to the disk and then puts it there: whoever looks sees
    /// the old file or the new one, whole.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let bytes = self.to_bytes()?;
        write_whole(path, &bytes).map_err(|error| CheckpointError::File {
            path: path.to_owned(),
            error,
        })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        let data: Vec<Vec<u8>> = self
            .tensors
            .iter()
            .map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let mut views = Vec::new();
        for ((name, shape, _), data) in self.tensors.iter().zip(&data) {
            let view = TensorView::new(tensor::Dtype::F32, shape.clone(), data);
            views.push((name, view.map_err(|e| CheckpointError::content(e.to_string()))?));
        }
        let words: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        safetensors::serialize(views, Some(words)).map_err(|e| CheckpointError::content(e.to_string()))
    }
}

/// A safetensors file whose values stay on the disk until they are asked for.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    size: u64,
    header: Metadata,
    /// Where the values begin.
    start: u64,
}

impl TensorFile {
    /// Opens a file and checks its header against its size. What a header claims is never allocated: only the
    /// header itself is, which is no longer than the file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let at = |error| CheckpointError::at(path, error);
        let mut file = File::open(path).map_err(at)?;
        let size = file.metadata().map_err(at)?.len();
        let damaged = |what: &str| CheckpointError::damaged(path, what, size);
        let mut eight = [0; 8];
        file.read_exact(&mut eight).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged("it ends before its header"),
            _ => at(error),
        })?;
        let length = u64::from_le_bytes(eight);
        if length > LONGEST_HEADER || length > size.saturating_sub(8) {
            return Err(damaged(&format!("its header should be {length} bytes long")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(at)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(&e.to_string()))?;
        let start = 8 + length;
        if start.checked_add(header.data_len() as u64) != Some(size) {
            let what = format!("its header tells of {} bytes of values", header.data_len());
            return Err(damaged(&what));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            header,
            start,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort_unstable();
        names
    }

    /// A tensor's shape, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| &info.shape[..])
    }

    /// Sets `values`, as many as the shape says, from a tensor of F32, F16 or BF16.
    pub fn read(&self, name: &str, values: &mut [f32]) -> Result<(), CheckpointError> {
        let info = self.header.info(name);
        let info = info.ok_or_else(|| CheckpointError::content(format!("it has no tensor {name}")))?;
        let width = width(name, info.dtype)
            .map_err(|what| CheckpointError::content(format!("{}: {what}", self.path.display())))?;
        let (from, to) = info.data_offsets;
        assert_eq!(to - from, values.len() * width, "{name} has as many values");
        let mut file = &self.file;
        let cut = |error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => CheckpointError::damaged(&self.path, "it became shorter", self.size),
            _ => CheckpointError::at(&self.path, error),
        };
        file.seek(SeekFrom::Start(self.start + from as u64))
            .map_err(cut)?;
        let mut bytes = vec![0; values.len().min(CHUNK) * width];
        for values in values.chunks_mut(CHUNK) {
            let bytes = &mut bytes[..values.len() * width];
            file.read_exact(bytes).map_err(cut)?;
            widen(info.dtype, bytes, values);
        }
        Ok(())
    }
}

/// How a file keeps its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dtype {
    /// As they are.
    #[default]
    F32,
    /// Rounded to the upper half of an f32: half the size, 8 significant bits.
    Bf16,
}

impl Dtype {
    /// Bytes of a number.
    pub fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// A safetensors file that is written a tensor at a time. It is not whole before [`TensorWriter::finish`]:
/// write it where nobody looks.
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    file: BufWriter<File>,
    dtype: Dtype,
    /// Lengths of the tensors to come, the next one last.
    lengths: Vec<usize>,
}

impl TensorWriter {
    /// Begins a file of `tensors`, names and shapes in the order in which they will come. Of the words about
    /// it there is one key, because a header keeps several in no order.
    pub fn create(
        path: &Path,
        dtype: Dtype,
        tensors: &[(&str, &[usize])],
        (key, word): (&str, &str),
    ) -> Result<Self, CheckpointError> {
        let stored = match dtype {
            Dtype::F32 => tensor::Dtype::F32,
            Dtype::Bf16 => tensor::Dtype::BF16,
        };
        let (mut infos, mut end) = (Vec::new(), 0);
        let mut lengths = Vec::new();
        for &(name, shape) in tensors {
            let (start, length) = (end, shape.iter().product::<usize>());
            end = start + length * dtype.width();
            lengths.push(length);
            let info = TensorInfo {
                dtype: stored,
                shape: shape.to_vec(),
                data_offsets: (start, end),
            };
            infos.push((name.to_owned(), info));
        }
        lengths.reverse();
        let words = HashMap::from([(key.to_owned(), word.to_owned())]);
        let header =
            Metadata::new(Some(words), infos).map_err(|e| CheckpointError::content(e.to_string()))?;
        let mut header = serde_json::to_vec(&header).expect("a header is plain data");
        header.resize(header.len().next_multiple_of(8), b' ');
        let at = |error| CheckpointError::at(path, error);
        let mut file = BufWriter::new(File::create(path).map_err(at)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(at)?;
        file.write_all(&header).map_err(at)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            dtype,
            lengths,
        })
    }

    /// Writes the next tensor.
    pub fn push(&mut self, values: &[f32]) -> Result<(), CheckpointError> {
        assert_eq!(
            self.lengths.pop(),
            Some(values.len()),
            "the tensor whose turn it is"
        );
        let mut bytes = Vec::with_capacity(values.len().min(CHUNK) * self.dtype.width());
        for values in values.chunks(CHUNK) {
            bytes.clear();
            match self.dtype {
                Dtype::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
                Dtype::Bf16 => bytes.extend(values.iter().flat_map(|&x| Bf16::of(x).0.to_le_bytes())),
            }
            let written = self.file.write_all(&bytes);
            written.map_err(|error| CheckpointError::at(&self.path, error))?;
        }
        Ok(())
    }

    /// Ends the file; then it is on the disk.
    pub fn finish(self) -> Result<(), CheckpointError> {
        assert!(self.lengths.is_empty(), "every tensor has come");
        let at = |error| CheckpointError::at(&self.path, error);
        let file = self.file.into_inner().map_err(|error| at(error.into_error()))?;
        file.sync_all().map_err(at)
    }
}

/// Bytes of one of a tensor's numbers, if they are of a type that widens to f32 as it is.
fn width(name: &str, dtype: tensor::Dtype) -> Result<usize, String> {
    match dtype {
        tensor::Dtype::F32 => Ok(4),
        tensor::Dtype::F16 | tensor::Dtype::BF16 => Ok(2),
        other => Err(format!(
            "tensor {name} holds {other:?}; F32, F16 and BF16 are read"
        )),
    }
}

fn widen(dtype: tensor::Dtype, bytes: &[u8], values: &mut [f32]) {
    let two = |two: &[u8]| u16::from_le_bytes([two[0], two[1]]);
    let four = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    match dtype {
        tensor::Dtype::F16 => values
            .iter_mut()
            .zip(bytes.chunks_exact(2))
            .for_each(|(x, bytes)| *x = from_f16(two(bytes))),
        tensor::Dtype::BF16 => values
            .iter_mut()
            .zip(bytes.chunks_exact(2))
            .for_each(|(x, bytes)| *x = Bf16(two(bytes)).to_f32()),
        _ => values
            .iter_mut()
            .zip(bytes.chunks_exact(4))
            .for_each(|(x, bytes)| *x = four(bytes)),
    }
}

/// An IEEE half: a sign, 5 bits of exponent, 10 of fraction.
fn from_f16(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let (exponent, fraction) = (u32::from(half >> 10) & 31, u32::from(half) & 0x3FF);
    let bits = match exponent {
        // Below the smallest normal number the fraction counts in steps of 2^-24; f32 has them all.
        0 => (fraction as f32 * 2f32.powi(-24)).to_bits(),
        31 => 0x7F80_0000 | fraction << 13,
        _ => (exponent + 127 - 15) << 23 | fraction << 13,
    };
    f32::from_bits(sign | bits)
}

impl CheckpointError {
    fn at(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::File { path, error }
    }

    fn damaged(path: &Path, what: &str, size: u64) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
            size,
        }
    }

    /// A checkpoint that is whole and doesn't fit.
    pub fn content(what: impl Into<String>) -> Self {
        Self::Content(what.into())
    }
}

/// Puts `bytes` at `path`, all or nothing, and on the disk; makes the folder if there is none.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        checkpoint.push("a", &[2, 3], vec![1.0, -2.0, 3.5, 0.0, f32::MIN, f32::MAX]);
        checkpoint.push("b", &[0], vec![]);
        checkpoint.metadata.insert("config".into(), "{}".into());
        checkpoint
    }

    #[test]
    fn any_bytes_give_a_checkpoint_or_words() {
        let whole = small().to_bytes().unwrap();
        assert_eq!(Checkpoint::parse(&whole).unwrap(), small());
        for cut in 0..whole.len() {
            assert!(Checkpoint::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for i in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[i] ^= 1 << bit;
                let _ = Checkpoint::parse(&flipped);
            }
        }
    }

    #[test]
    fn any_bytes_give_a_file_or_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let whole = small().to_bytes().unwrap();
        let open = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            TensorFile::open(&path)
        };
        for cut in 0..whole.len() {
            assert!(open(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for i in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[i] ^= 1 << bit;
                let Ok(file) = open(&flipped) else { continue };
                for name in file.names() {
                    let mut values = vec![0.0; file.shape(&name).unwrap().iter().product()];
                    let _ = file.read(&name, &mut values);
                }
            }
        }
        for length in [u64::MAX, u64::MAX - 7, 1 << 40, LONGEST_HEADER, 9] {
            let error = open(&length.to_le_bytes()).unwrap_err().to_string();
            assert!(error.contains(&length.to_string()), "{error}");
        }
        let huge = br#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#;
        let bytes = [&(huge.len() as u64).to_le_bytes()[..], huge, &[0; 8]].concat();
        assert!(open(&bytes).unwrap_err().to_string().contains("overflow"));
    }

    #[test]
    fn what_is_written_piece_by_piece_is_read_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let long: Vec<f32> = (0..CHUNK + 5).map(|i| i as f32 - 7.0).collect();
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let shapes: [(&str, &[usize]); 3] = [("long", &[CHUNK + 5]), ("none", &[0, 3]), ("b", &[2, 1])];
            let mut writer = TensorWriter::create(&path, dtype, &shapes, ("format", "pt")).unwrap();
            for values in [&long[..], &[], &[1.0 + 1.0 / 256.0, -0.5]] {
                writer.push(values).unwrap();
            }
            writer.finish().unwrap();
            let file = TensorFile::open(&path).unwrap();
            assert_eq!(file.names(), ["b", "long", "none"]);
            assert_eq!(file.shape("b"), Some(&[2, 1][..]));
            let (mut values, mut b) = (vec![0.0; long.len()], [0.0; 2]);
            file.read("long", &mut values).unwrap();
            file.read("b", &mut b).unwrap();
            match dtype {
                Dtype::F32 => assert!(values == long && b == [1.0 + 1.0 / 256.0, -0.5]),
                // Halfway between two numbers, it goes to the even one.
                Dtype::Bf16 => assert!(values[..256] == long[..256] && b == [1.0, -0.5]),
            }
            let whole = Checkpoint::read(&path).unwrap();
            assert_eq!(whole.tensor("long", &[CHUNK + 5]).unwrap(), values);
            assert_eq!(whole.metadata("format").unwrap(), "pt");
        }
        assert!(TensorFile::open(&path).unwrap().read("c", &mut []).is_err());
    }

    #[test]
    fn halves_widen_to_what_they_are() {
        for half in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(half >> 10) & 31, f32::from(half & 0x3FF) / 1024.0);
            let size = match exponent {
                0 => fraction * 2f32.powi(-14),
                31 if fraction == 0.0 => f32::INFINITY,
                31 => f32::NAN,
                _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
            };
            let (expected, got) = (if half >> 15 == 0 { size } else { -size }, from_f16(half));
            let both_nan = expected.is_nan() && got.is_nan();
            assert!(
                both_nan || expected.to_bits() == got.to_bits(),
                "{half:#x}: {got}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let read = || Checkpoint::read(&path).unwrap_err().to_string();
        assert!(
            read().contains("model.safetensors") && read().contains("No such file"),
            "{}",
            read()
        );
        fs::write(&path, &small().to_bytes().unwrap()[..40]).unwrap();
        assert!(
            read().contains("is damaged") && read().contains("40 bytes"),
            "{}",
            read()
        );
        let small = small();
        let shape = small.tensor("a", &[3, 2]).unwrap_err().to_string();
        assert!(shape.contains("tensor a has shape [2, 3], not [3, 2]"), "{shape}");
        let name = small.tensor("c", &[1]).unwrap_err().to_string();
        assert!(name.contains("no tensor c"), "{name}");
    }
}
