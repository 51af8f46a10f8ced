//! What goes wrong with a bucket: what, where, and what to try.

use crate::bucket::BucketAddress;
use object_store::Error;
use object_store::client::HttpError;

/// Why a bucket can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// Its settings make no sense.
    #[error("{bucket}: {why}; the AWS_... variables of the environment say where it is and with which keys")]
    Settings {
        /// Which.
        bucket: BucketAddress,
        /// What makes no sense.
        why: String,
    },
    /// Nobody answers.
    #[error(
        "{bucket} can't be reached at {endpoint} ({why}); check AWS_ENDPOINT_URL and AWS_REGION, that the keys are set \
         (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), and the network"
    )]
    Unreachable {
        /// Which.
        bucket: BucketAddress,
        /// Where it was looked for.
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// There is an S3, and no such bucket.
    #[error("there is no bucket of {bucket} at {endpoint}; make it there, or check the name and AWS_REGION")]
    NoBucket {
        /// Which.
        bucket: BucketAddress,
        /// Where it was looked for.
        endpoint: String,
    },
    /// The keys are wrong, or don't allow it.
    #[error(
        "{bucket} refuses us when {doing} ({why}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, that they may list the \
         bucket and get, put and delete its objects, and the bucket's quota"
    )]
    Refused {
        /// Which.
        bucket: BucketAddress,
        /// What was tried.
        doing: &'static str,
        /// What it said.
        why: String,
    },
    /// An object was removed meanwhile.
    #[error("{object} isn't there any more")]
    NoObject {
        /// Which.
        object: String,
    },
    /// Another log's bytes are in it, and each hub would remove the other's.
    #[error("{bucket} has the artifacts of another consortium; give this hub a prefix of its own")]
    Foreign {
        /// Which.
        bucket: BucketAddress,
    },
    /// Anything else; also that it is full.
    #[error(
        "{bucket} failed when {doing} ({why}); nothing is lost: ask again, and look at the bucket's own log and quota"
    )]
    Failed {
        /// Which.
        bucket: BucketAddress,
        /// What was tried.
        doing: &'static str,
        /// What it said.
        why: String,
    },
}

impl BucketError {
    pub(crate) fn of(bucket: &BucketAddress, endpoint: &str, doing: &'static str, error: &Error) -> Self {
        let (bucket, endpoint) = (bucket.clone(), endpoint.to_owned());
        let why = in_words(error);
        // Of a list that can't be had, only the text says why.
        let says = |words: &str| causes(error).any(|it| it.to_string().contains(words));
        match error {
            _ if says("NoSuchBucket") => Self::NoBucket { bucket, endpoint },
            Error::NotFound { path, .. } => Self::NoObject {
                object: format!("s3://{}/{path}", bucket.name()),
            },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                Self::Refused { bucket, doing, why }
            }
            _ if says("status code: 403") || says("status code: 401") => Self::Refused { bucket, doing, why },
            _ if causes(error).any(|it| it.is::<HttpError>()) => Self::Unreachable {
                bucket,
                endpoint,
                why,
            },
            _ => Self::Failed { bucket, doing, why },
        }
    }
}

fn causes<'a>(error: &'a Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
}

/// The last cause; of an S3's answer in XML what it says for people.
fn in_words(error: &Error) -> String {
    let last = causes(error).last().map(ToString::to_string).unwrap_or_default();
    let between = |tag: &str| {
        let (_, rest) = last.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0)
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => last,
    }
}
