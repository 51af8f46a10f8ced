//! `khub serve`: the hub alone.

use crate::failure::Failure;
use crate::folder::Folder;
use crate::show;
use server::{Hub, HubConfig, HubError, ProviderConfig};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{BucketAddress, BucketConfig, Place, StoreError};

/// Run the hub of a data folder.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub serve\n  khub serve --folder /srv/khub --listen 0.0.0.0:7777\n  \
    khub serve --database postgresql://khub@db.example/khub\n  \
    khub serve --artifacts s3://khub/artifacts --artifacts-cache 500GB\n  \
    khub serve --public-url https://hub.example --oidc-issuer https://id.example --oidc-client khub --oidc-secret-file oidc.secret\n\n\
    Then, beside it: khub jobs, khub explain job-1, khub ledger verify, khub artifacts korean-reviews."
)]
pub(crate) struct Args {
    /// The data folder.
    #[arg(long, env = "KHUB_FOLDER", default_value = "khub-data")]
    folder: PathBuf,
    /// Keep the log in this PostgreSQL database instead of the folder: postgresql://USER:PASSWORD@HOST/NAME.
    /// A second hub on the same database stands by, and takes over when the first is gone.
    #[arg(long, env = "KHUB_DATABASE", hide_env_values = true, value_name = "URL")]
    database: Option<Place>,
    #[command(flatten)]
    artifacts: Artifacts,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7777")]
    listen: SocketAddr,
    /// The folder of what the pages can do without, as the structure viewer that `dev/molstar` brings; else
    /// `assets` in the data folder.
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// How many seconds a site may be silent before its jobs go on without it.
    #[arg(long, default_value_t = 15.0, value_parser = seconds)]
    lose_after: f64,
    /// How many seconds a request waits for news at most; less than what a proxy in front of the hub allows.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    longest_wait: f64,
    /// So many unknown tokens from one address within a minute lock it out; more where many people share one.
    #[arg(long, default_value_t = 30)]
    unknown_tokens: u32,
    /// How many requests of one account are answered in a second, with ten seconds' worth at once; 0 is no limit.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    rate: u32,
    /// Where people reach the hub, as `https://hub.example`; else where it listens. Browsers are sent back there by the provider.
    #[arg(long, env = "KHUB_PUBLIC_URL", value_name = "URL", value_parser = origin)]
    public_url: Option<String>,
    #[command(flatten)]
    provider: Oidc,
    /// Add a line of JSON for each answer to this file; `-` is the standard error.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
}

/// Where the bytes of artifacts are.
#[derive(clap::Args)]
#[command(next_help_heading = "Artifacts")]
struct Artifacts {
    /// Keep artifacts in this bucket of an S3-compatible store, with the folder as a cache. AWS_ENDPOINT_URL, AWS_REGION,
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment say where it is and with which keys.
    #[arg(long, env = "KHUB_ARTIFACTS", value_name = "s3://BUCKET/PREFIX")]
    artifacts: Option<BucketAddress>,
    /// How much of them the folder has at most when they are in a bucket, as 500GB.
    #[arg(long, default_value = "100GB", value_name = "SIZE", value_parser = size)]
    artifacts_cache: u64,
}

impl Artifacts {
    fn bucket(&self) -> Option<BucketConfig> {
        let address = self.artifacts.clone()?;
        Some(BucketConfig::from_env(address, self.artifacts_cache))
    }
}

/// A number of bytes, with a unit as one reads it on a disk.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text.get(digits.len()..) {
        Some("" | "B") => 1,
        Some("MB") => 1_000_000,
        Some("GB") => 1_000_000_000,
        Some("TB") => 1_000_000_000_000,
        _ => 0,
    };
    let bytes = digits.parse().ok().and_then(|count: u64| count.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "a size as 500GB; units are B, MB, GB and TB".to_owned())
}

/// The provider that people sign in with, by OpenID Connect.
#[derive(clap::Args)]
#[command(next_help_heading = "Provider")]
struct Oidc {
    /// The OpenID Connect provider that people sign in with, by its issuer's address; without it they have tokens.
    #[arg(long, env = "KHUB_OIDC_ISSUER", value_name = "URL", value_parser = issuer, requires = "oidc_client")]
    oidc_issuer: Option<String>,
    /// The hub's client id there.
    #[arg(long, env = "KHUB_OIDC_CLIENT", value_name = "ID", requires = "oidc_issuer")]
    oidc_client: Option<String>,
    /// The file that has the hub's client secret; none for a public client.
    #[arg(long, value_name = "FILE", conflicts_with = "oidc_secret")]
    oidc_secret_file: Option<PathBuf>,
    /// The secret itself; better from the environment than from the command line, which others can see.
    #[arg(long, env = "KHUB_OIDC_SECRET", hide_env_values = true, hide = true)]
    oidc_secret: Option<String>,
}

impl Oidc {
    fn config(&self) -> Result<Option<ProviderConfig>, Failure> {
        let (Some(issuer), Some(client)) = (&self.oidc_issuer, &self.oidc_client) else {
            return Ok(None);
        };
        let secret = match &self.oidc_secret_file {
            Some(file) => {
                let secret = std::fs::read_to_string(file).map_err(|e| Failure::unread(file, &e))?;
                Some(secret.trim().to_owned())
            }
            None => self.oidc_secret.clone(),
        };
        Ok(Some(ProviderConfig {
            issuer: issuer.clone(),
            client: client.clone(),
            secret,
        }))
    }
}

/// A scheme, a host and perhaps a port: what a browser calls an origin.
fn origin(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_plain = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']));
    if is_plain && text.is_ascii() && !text.contains(|c: char| c.is_ascii_uppercase()) {
        Ok(text.to_owned())
    } else {
        Err("an address as https://hub.example, in small letters and without a path".to_owned())
    }
}

/// Who people are is told in the open otherwise.
fn issuer(text: &str) -> Result<String, String> {
    if server::is_safe(text) {
        Ok(text.to_owned())
    } else {
        Err("an address that begins with https://, or one of this machine".to_owned())
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("{text} is not a number of seconds"))?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("0 to 86400 seconds".to_owned())
    }
}

/// A hub with its log in the folder, or in `database`.
pub(crate) fn hub_config(folder: &Path, database: Option<&Place>) -> HubConfig {
    let config = HubConfig::new(folder);
    match database {
        Some(place) => HubConfig {
            log: place.clone(),
            ..config
        },
        None => config,
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let folder = Folder(args.folder.clone());
    let own = hub_config(&args.folder, args.database.as_ref());
    let config = HubConfig {
        listen: args.listen,
        lose_after: Duration::from_secs_f64(args.lose_after),
        longest_wait: Duration::from_secs_f64(args.longest_wait),
        unknown_tokens: args.unknown_tokens,
        rate: args.rate,
        public_url: args.public_url.clone(),
        provider: args.provider.config()?,
        bucket: args.artifacts.bucket(),
        access_log: args.access_log.clone(),
        assets: args.assets.clone().unwrap_or_else(|| own.assets.clone()),
        ..own
    };
    let hub = match Hub::start(&config) {
        Err(HubError::Store(StoreError::Busy { place })) if args.database.is_some() => {
            show::print(&format!("another hub writes to {place}; this one stands by\n"));
            let config = HubConfig {
                stand_by: true,
                ..config
            };
            Hub::start(&config)?
        }
        started => started?,
    };
    folder.announce(&hub)?;
    let stop = hub.stopper();
    ctrlc::set_handler(stop).map_err(Failure::new)?;
    show::print(&format!(
        "the hub of {} answers at {}\nstop it with Ctrl-C\n",
        args.folder.display(),
        hub.url()
    ));
    Ok(hub.wait()?)
}
