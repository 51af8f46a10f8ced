//! A bucket of an S3-compatible store, which keeps artifacts' bytes for good.
//!
//! An object is named `PREFIX/DIGEST/EPOCH`. The object `PREFIX/owner` has the last epoch, which every hub counts up when
//! it has become the log's writer. So one that had stopped being the writer without knowing it can remove what it has seen,
//! and never what its successor has put there since: that has another name. Of several objects of a digest the newest
//! epoch's counts.
//!
//! Everything here waits until it is done. What is large goes in parts, of which only a few are in memory.

use crate::blobs::{BlobError, Blobs};
use crate::bucket_error::BucketError;
use crate::s3_wire::Wire;
use crate::unfinished::{Note, Unfinished};
use bytes::Bytes;
use consortium::Digest;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, RetryConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path as FolderPath;
use std::str::FromStr;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// How many bytes go in one request; what has more goes in parts of so many.
const PART: u64 = 8 << 20;
/// More parts S3 doesn't take.
const MOST_PARTS: u64 = 10_000;
/// How many parts of one object are on their way, and so in memory.
const PARTS_AT_ONCE: usize = 4;
/// How many objects in parts are on their way; others wait.
const LARGE_AT_ONCE: usize = 3;
/// The same of small ones, which don't wait for large ones.
const SMALL_AT_ONCE: usize = 8;
/// How many requests without bytes are on their way.
const REQUESTS_AT_ONCE: usize = 8;
/// Who can't be reached within this isn't there, when a hub starts.
const LONGEST_FIRST_WAIT: Duration = Duration::from_secs(10);
/// The name of an [`Owner`].
const OWNER: &str = "owner";

/// Where a bucket is, as `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    bucket: String,
    /// Without slashes at its ends; may be empty.
    prefix: String,
}

/// A bucket and how to get at it.
#[derive(Clone)]
pub struct BucketConfig {
    /// Which.
    pub address: BucketAddress,
    /// Names and values as in the environment, of which the `AWS_...` count: keys, region, endpoint.
    pub settings: Vec<(String, String)>,
    /// How many bytes the folder in front of it has at most.
    pub cache: u64,
}

/// A bucket that was there when it was opened.
pub struct Bucket {
    address: BucketAddress,
    /// Where it is said to be; for errors.
    endpoint: String,
    s3: AmazonS3,
    large: Semaphore,
    small: Semaphore,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

/// Whose the bucket is.
#[derive(Serialize, Deserialize)]
struct Owner {
    /// The hash of the log's first record.
    log: Digest,
    epoch: u64,
}

/// What the bucket has of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) digest: Digest,
    pub(crate) epoch: u64,
    pub(crate) bytes: u64,
}

impl BucketConfig {
    /// The bucket at `address`, by this process's environment.
    pub fn from_env(address: BucketAddress, cache: u64) -> Self {
        let settings = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            name.starts_with("AWS_").then_some((name, value))
        });
        let settings = settings.collect();
        Self {
            address,
            settings,
            cache,
        }
    }

    fn builder(&self) -> Result<AmazonS3Builder, BucketError> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &self.settings {
            // What isn't known is for somebody else.
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()
                && name.starts_with("AWS_")
            {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = endpoint(&builder);
        let is_open = endpoint.starts_with("http://");
        let may_be_open = AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp);
        let may_be_open = builder.get_config_value(&may_be_open).as_deref() == Some("true");
        if is_open && !may_be_open && !is_of_this_machine(&endpoint) {
            return Err(BucketError::Settings {
                bucket: self.address.clone(),
                why: format!("{endpoint} isn't encrypted; set AWS_ALLOW_HTTP=true if the network is trusted"),
            });
        }
        Ok(builder
            .with_bucket_name(&self.address.bucket)
            .with_allow_http(is_open)
            .with_http_connector(Wire)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(2),
                    base: 2.0,
                },
                max_retries: 5,
                retry_timeout: Duration::from_secs(60),
            }))
    }
}

impl Bucket {
    /// The bucket, if it can be reached and its objects may be listed.
    pub fn open(config: &BucketConfig) -> Result<Self, BucketError> {
        let builder = config.builder()?;
        let endpoint = endpoint(&builder);
        let settings = |why: &dyn fmt::Display| BucketError::Settings {
            bucket: config.address.clone(),
            why: why.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("bucket")
            .enable_time()
            .build();
        let bucket = Self {
            address: config.address.clone(),
            endpoint,
            s3: builder.build().map_err(|e| settings(&e))?,
            large: Semaphore::new(LARGE_AT_ONCE),
            small: Semaphore::new(SMALL_AT_ONCE),
            runtime: Some(runtime.map_err(|e| settings(&e))?),
        };
        let looked = bucket.block_on(async {
            let root = bucket.root();
            let mut listed = bucket.s3.list(Some(&root));
            tokio::time::timeout(LONGEST_FIRST_WAIT, listed.next()).await
        });
        match looked {
            Err(_) => Err(BucketError::Unreachable {
                bucket: bucket.address.clone(),
                endpoint: bucket.endpoint.clone(),
                why: format!("no answer within {} seconds", LONGEST_FIRST_WAIT.as_secs()),
            }),
            Ok(Some(Err(error))) => Err(bucket.failed("listing its objects", &error)),
            Ok(_) => Ok(bucket),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &BucketAddress {
        &self.address
    }

    /// Begins the next epoch, for the writer of the log that begins with the record of this hash, unless the bucket is
    /// another's.
    pub(crate) fn claim(&self, log: &Digest) -> Result<u64, BucketError> {
        let key = self.root().join(OWNER);
        let found = self.block_on(async {
            match self.s3.get(&key).await {
                Ok(found) => Ok(Some(found.bytes().await?)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let epoch = match found.map_err(|e| self.failed("asking whose it is", &e))? {
            None => 1,
            Some(text) => match serde_json::from_slice::<Owner>(&text) {
                Ok(owner) if owner.log == *log => owner.epoch + 1,
                _ => {
                    let bucket = self.address.clone();
                    return Err(BucketError::Foreign { bucket });
                }
            },
        };
        let owner = Owner { log: *log, epoch };
        let owner = serde_json::to_vec(&owner).expect("plain data");
        let done = self.block_on(self.s3.put(&key, owner.into()));
        done.map_err(|e| self.failed("putting an object", &e))?;
        Ok(epoch)
    }

    /// All objects, in the order of their digests.
    pub(crate) fn objects(&self) -> Result<Vec<Object>, BucketError> {
        let listed = self.s3.list(Some(&self.root()));
        self.list(listed)
    }

    /// The newest object of a digest.
    pub(crate) fn find(&self, digest: &Digest) -> Result<Option<Object>, BucketError> {
        let listed = self.s3.list(Some(&self.root().join(digest.hex())));
        Ok(self.list(listed)?.pop())
    }

    fn list(
        &self,
        listed: stream::BoxStream<'static, object_store::Result<ObjectMeta>>,
    ) -> Result<Vec<Object>, BucketError> {
        let listed = listed.try_filter_map(|found| std::future::ready(Ok(self.object(&found))));
        let listed = self.block_on(listed.try_collect::<Vec<_>>());
        let mut objects = listed.map_err(|e| self.failed("listing its objects", &e))?;
        objects.sort_unstable();
        Ok(objects)
    }

    /// Puts the bytes that lie in `file`. When this returns `Ok` the bucket has all of them under the object's name;
    /// otherwise nothing has that name, or what had it before. Notes of what is unfinished lie in `dir`.
    pub(crate) fn put(&self, object: &Object, file: &File, dir: &FolderPath) -> Result<(), BucketError> {
        let key = self.key(object);
        let done = self.block_on(async {
            if object.bytes > PART {
                let _turn = self.large.acquire().await;
                return self.put_in_parts(&key, file, object.bytes, dir).await;
            }
            let _turn = self.small.acquire().await;
            let bytes = read(file, 0..object.bytes)?;
            self.s3.put(&key, bytes.into()).await.map(drop)
        });
        done.map_err(|e| self.failed("putting an object", &e))
    }

    async fn put_in_parts(
        &self,
        key: &Path,
        file: &File,
        bytes: u64,
        dir: &FolderPath,
    ) -> object_store::Result<()> {
        let id = self.s3.create_multipart(key).await?;
        let unfinished = Unfinished {
            key: key.to_string(),
            id: id.clone(),
        };
        let mut note = None;
        let sent = async {
            note = Some(Note::write(dir, &unfinished).map_err(local)?);
            let parts = parts(bytes, PART.max(bytes.div_ceil(MOST_PARTS)));
            let parts = stream::iter(parts.enumerate()).map(|(index, part)| {
                let id = &id;
                async move { self.s3.put_part(key, id, index, read(file, part)?.into()).await }
            });
            let parts: Vec<PartId> = parts.buffered(PARTS_AT_ONCE).try_collect().await?;
            self.s3.complete_multipart(key, &id, parts).await.map(drop)
        };
        let sent = sent.await;
        // If that doesn't go through either, the note of it stays.
        let is_settled = sent.is_ok() || self.s3.abort_multipart(key, &id).await.is_ok();
        if let Some(note) = note.filter(|_| is_settled) {
            note.remove();
        }
        sent
    }

    /// Gives up an object in parts that nobody completes.
    pub(crate) fn give_up(&self, unfinished: &Unfinished) -> Result<(), BucketError> {
        let key = Path::from(unfinished.key.as_str());
        match self.block_on(self.s3.abort_multipart(&key, &unfinished.id)) {
            // Complete, or given up before.
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done.map_err(|e| self.failed("giving up an unfinished object", &e)),
        }
    }

    /// Hands out an object's bytes in their order, unchecked, until `take` doesn't want any more.
    pub(crate) fn get<E: From<BucketError>>(
        &self,
        object: &Object,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let key = self.key(object);
        let class = if object.bytes > PART {
            &self.large
        } else {
            &self.small
        };
        self.block_on(async {
            let _turn = class.acquire().await;
            let parts = stream::iter(parts(object.bytes, PART));
            let parts = parts.map(|part| self.s3.get_range(&key, part));
            let mut parts = std::pin::pin!(parts.buffered(PARTS_AT_ONCE));
            while let Some(part) = parts.next().await {
                let part: Bytes = part.map_err(|e| self.failed("getting an object", &e))?;
                take(&part)?;
            }
            Ok(())
        })
    }

    /// Copies into a folder all that it doesn't have, each checked. Returns how many.
    pub fn copy_into(&self, folder: &Blobs) -> Result<u64, BlobError> {
        let newest: BTreeMap<Digest, Object> = self
            .objects()?
            .into_iter()
            .map(|object| (object.digest, object))
            .collect();
        let mut copied = 0;
        for object in newest.values().filter(|object| !folder.has(&object.digest)) {
            let mut writer = folder.begin(Some(object.digest), object.bytes)?;
            match self.get(object, &mut |piece| writer.write(piece)) {
                // The hub collects what its log doesn't name.
                Err(BlobError::Bucket(BucketError::NoObject { .. })) => continue,
                got => got?,
            }
            writer.finish().map_err(|error| self.damaged(object, error))?;
            copied += 1;
        }
        Ok(copied)
    }

    /// Wrong bytes of an object are the bucket's damage.
    pub(crate) fn damaged(&self, object: &Object, error: BlobError) -> BlobError {
        match error {
            BlobError::Wrong { found, .. } => BlobError::DamagedInBucket {
                object: format!("s3://{}/{}", self.address.bucket, self.key(object)),
                found,
            },
            error => error,
        }
    }

    /// Removes objects; those that aren't there are.
    pub(crate) fn remove(&self, objects: &[Object]) -> Result<(), BucketError> {
        let keys = stream::iter(objects.iter().map(|object| self.key(object)));
        let removed = keys.map(|key| async move { self.s3.delete(&key).await });
        let removed = removed
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_for_each(|()| std::future::ready(Ok(())));
        let removed = self.block_on(removed);
        removed.map_err(|e| self.failed("removing an object", &e))
    }

    fn root(&self) -> Path {
        Path::from(self.address.prefix.as_str())
    }

    fn key(&self, object: &Object) -> Path {
        self.root()
            .join(object.digest.hex())
            .join(object.epoch.to_string())
    }

    fn object(&self, found: &ObjectMeta) -> Option<Object> {
        let root = self.root();
        let mut parts = found.location.prefix_match(&root)?;
        let (digest, epoch) = (parts.next()?, parts.next()?);
        let object = Object {
            digest: format!("blake3:{}", digest.as_ref()).parse().ok()?,
            epoch: epoch.as_ref().parse().ok()?,
            bytes: found.size,
        };
        // Nothing else that lies there is ours.
        (self.key(&object) == found.location).then_some(object)
    }

    fn failed(&self, doing: &'static str, error: &object_store::Error) -> BucketError {
        BucketError::of(&self.address, &self.endpoint, doing, error)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref();
        runtime
            .expect("the runtime lives until the bucket is dropped")
            .block_on(future)
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // Whoever drops it may be in a place where nobody may wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where S3 is, as far as it is told.
fn endpoint(builder: &AmazonS3Builder) -> String {
    let told = |key| builder.get_config_value(&key);
    let region = told(AmazonS3ConfigKey::Region).or_else(|| told(AmazonS3ConfigKey::DefaultRegion));
    told(AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| told(AmazonS3ConfigKey::Endpoint))
        .unwrap_or_else(|| format!("the region {}", region.as_deref().unwrap_or("us-east-1")))
}

fn is_of_this_machine(address: &str) -> bool {
    let host = address.strip_prefix("http://").unwrap_or(address);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|own| {
        let rest = host.strip_prefix(own);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

/// The parts of `bytes` bytes, each so long but for the last.
fn parts(bytes: u64, length: u64) -> impl Iterator<Item = Range<u64>> {
    (0..bytes.div_ceil(length)).map(move |index| index * length..bytes.min((index + 1) * length))
}

fn read(file: &File, part: Range<u64>) -> object_store::Result<Bytes> {
    let mut buffer = vec![0; (part.end - part.start) as usize];
    file.read_exact_at(&mut buffer, part.start).map_err(local)?;
    Ok(buffer.into())
}

/// What this machine's own disk says.
fn local(error: io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "the folder",
        source: Box::new(error),
    }
}

impl BucketAddress {
    /// Without the prefix.
    pub(crate) fn name(&self) -> &str {
        &self.bucket
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        match self.prefix.as_str() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

impl FromStr for BucketAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("s3://")
            .ok_or("an address as s3://BUCKET/PREFIX")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bucket.len() < 3 || !bucket.chars().all(is_plain) {
            return Err(format!("{bucket:?} isn't the name of a bucket"));
        }
        let prefix = prefix.trim_matches('/');
        let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(is_plain);
        if !prefix.is_empty() && !prefix.split('/').all(is_segment) {
            return Err(format!(
                "the prefix {prefix:?} may have letters, digits, - . _ and single slashes"
            ));
        }
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Ok(Self { bucket, prefix })
    }
}

/// Without the values of its settings, which have keys among them.
impl fmt::Debug for BucketConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketConfig({}, cache {})", self.address, self.cache)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({} at {})", self.address, self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buckets() {
        for (text, shown) in [
            ("s3://khub", Some("s3://khub")),
            ("s3://khub/", Some("s3://khub")),
            ("s3://khub/a/b.c_d-e/", Some("s3://khub/a/b.c_d-e")),
            ("s3://", None),
            ("s3://k", None),
            ("khub/a", None),
            ("https://khub", None),
            ("s3://khub/a//b", None),
            ("s3://khub/../b", None),
            ("s3://khub/a b", None),
            ("s3://key:secret@khub/a", None),
        ] {
            let parsed = text.parse::<BucketAddress>().ok();
            assert_eq!(parsed.map(|it| it.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn parts_have_all_bytes_once() {
        for (bytes, expected) in [
            (0, &[][..]),
            (1, &[(0, 1)]),
            (8, &[(0, 8)]),
            (17, &[(0, 8), (8, 16), (16, 17)]),
        ] {
            let found: Vec<_> = parts(bytes, 8).map(|part| (part.start, part.end)).collect();
            assert_eq!(found, expected);
        }
        let largest = 5_u64 << 40;
        assert_eq!(parts(largest, largest.div_ceil(MOST_PARTS)).count(), 10_000);
    }

    #[test]
    fn a_config_tells_nobody_its_keys() {
        let config = BucketConfig {
            address: "s3://khub".parse().unwrap(),
            settings: vec![("AWS_SECRET_ACCESS_KEY".into(), "hush".into())],
            cache: 1,
        };
        assert_eq!(format!("{config:?}"), "BucketConfig(s3://khub, cache 1)");
    }

    #[test]
    fn bytes_travel_in_the_open_only_where_that_is_said() {
        let builder = |endpoint: &str, allow: &[(&str, &str)]| {
            let mut settings = vec![("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned())];
            settings.extend(allow.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())));
            let address = "s3://khub".parse().unwrap();
            let cache = 1;
            BucketConfig {
                address,
                settings,
                cache,
            }
            .builder()
            .map(drop)
        };
        assert!(builder("https://s3.example", &[]).is_ok());
        assert!(builder("http://127.0.0.1:9000", &[]).is_ok());
        assert!(builder("http://s3.example", &[("AWS_ALLOW_HTTP", "true")]).is_ok());
        let refused = builder("http://localhost.example", &[]).unwrap_err().to_string();
        assert!(refused.contains("set AWS_ALLOW_HTTP=true"), "{refused}");
    }
}
