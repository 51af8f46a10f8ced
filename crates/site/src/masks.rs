//! A site's masks in a private job: which it puts on its own updates, which it has lifted, and what is left of those of
//! all. `sync::private` has the arithmetic, `consortium` the rules.

use crate::SiteError;
use crate::batch::write_whole_for;
use crate::edge::at;
use api::ToUnmask;
use consortium::{JobId, MaskKey, MaskSeed, Round, Seeds, SiteId};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use sync::private::{Mask, Secret, Seed, SumError, mask, sum};

/// Where a site keeps its secret, from the job's folder.
pub(crate) const SECRET: &str = "mask.secret";

/// The masks of a site's update in a round whose members have these keys: its own, and one with each other member. Of
/// two members the first in site order adds it.
///
/// # Errors
/// Keys that hide nothing; members that know the site under another key than its own.
pub fn masks(
    secret: &Secret,
    (job, round): (JobId, u32),
    site: &SiteId,
    keys: &BTreeMap<SiteId, MaskKey>,
) -> Result<Vec<Mask>, SumError> {
    if keys.get(site).map(|key| key.0) != Some(secret.key()) {
        return Err(SumError::Bytes("the round has another key for this site"));
    }
    let job = job.to_string();
    let mut masks = vec![Mask::Add(secret.own(&job, round))];
    for (other, key) in keys.iter().filter(|(other, _)| *other != site) {
        masks.push(shared(site, other, secret.with(&key.0, &job, round)?));
    }
    Ok(masks)
}

/// The mask that `site` puts on for what it shares with another.
fn shared(site: &SiteId, other: &SiteId, seed: Seed) -> Mask {
    if site < other {
        Mask::Add(seed)
    } else {
        Mask::Take(seed)
    }
}

/// What a site tells of its masks.
///
/// # Errors
/// Keys that hide nothing.
pub fn seeds(secret: &Secret, job: JobId, asked: &ToUnmask) -> Result<Seeds, SumError> {
    let (job, round) = (job.to_string(), asked.round);
    let shared = asked
        .with
        .iter()
        .map(|(site, key)| Ok((site.clone(), MaskSeed(secret.with(&key.0, &job, round)?))));
    Ok(Seeds {
        own: MaskSeed(secret.own(&job, round)),
        with: shared.collect::<Result<_, SumError>>()?,
    })
}

/// What is to be lifted from the sum of a closed round's updates, as its sites have told it.
pub(crate) fn lifted(round: &Round) -> Vec<Mask> {
    let told = round.unmasking.iter().flat_map(|unmasking| &unmasking.told);
    let told = told.filter(|(site, _)| round.updates.contains_key(*site));
    let masks = told.flat_map(|(site, seeds)| {
        let with = seeds
            .with
            .iter()
            .filter(|(other, _)| !round.updates.contains_key(*other));
        let shared = with.map(move |(other, seed)| shared(site, other, seed.0));
        shared.chain([Mask::Add(seeds.own.0)])
    });
    masks.map(Mask::lifted).collect()
}

/// The secret in a file.
pub(crate) fn secret(path: &Path) -> Result<Secret, SiteError> {
    let bytes = fs::read(path).map_err(at(path))?;
    let secret = <[u8; 32]>::try_from(bytes.as_slice());
    let damaged = |_| Error::new(ErrorKind::InvalidData, "it has not the 32 bytes of a secret");
    secret.map(Secret).map_err(damaged).map_err(at(path))
}

/// The same; where there is none, one by chance.
pub(crate) fn make_secret(path: &Path) -> Result<Secret, SiteError> {
    if let Ok(known) = secret(path) {
        return Ok(known);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| at(path)(error.into()))?;
    write_whole(path, &bytes)?;
    Ok(Secret(bytes))
}

/// Puts masks on an update, unless that is done.
pub(crate) fn mask_file(update: &Path, masked: &Path, masks: &[Mask]) -> Result<(), SiteError> {
    if masked.exists() {
        return Ok(());
    }
    let bytes = fs::read(update).map_err(at(update))?;
    write_whole(masked, &mask(&bytes, masks)?)
}

/// Writes what updates under masks come to.
pub(crate) fn sum_files(
    masked: &[PathBuf],
    lifted: &[Mask],
    (of, samples): (u64, u64),
    path: &Path,
) -> Result<(), SiteError> {
    let sent = masked.iter().map(|path| fs::read(path).map_err(at(path)));
    let sent: Vec<Vec<u8>> = sent.collect::<Result<_, SiteError>>()?;
    write_whole(path, &sum(sent.iter().map(Vec::as_slice), lifted, of, samples)?)
}

/// Writes a file that only this site's user may read.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), SiteError> {
    write_whole_for(0o600, path, bytes).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_and_masks_are_put_on_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let made = make_secret(&file(SECRET)).unwrap();
        assert_eq!(make_secret(&file(SECRET)).unwrap().key(), made.key());
        assert_eq!(secret(&file(SECRET)).unwrap().key(), made.key());
        let summand = |change: f32| {
            let summand = sync::private::Summand {
                codec: sync::Codec::Int8,
                clip: 1_000,
                samples: 1,
                of: 1,
            };
            summand.write(&[change], &mut [0.0]).unwrap()
        };
        fs::write(file("update"), summand(0.5)).unwrap();
        mask_file(&file("update"), &file("masked"), &[]).unwrap();
        let first = fs::read(file("masked")).unwrap();
        fs::write(file("update"), summand(0.25)).unwrap();
        mask_file(&file("update"), &file("masked"), &[]).unwrap();
        assert_eq!(
            fs::read(file("masked")).unwrap(),
            first,
            "or the difference is told"
        );
        sum_files(&[file("masked")], &[], (1, 1), &file("sum")).unwrap();
        let mean = sync::Update::parse(&fs::read(file("sum")).unwrap()).unwrap();
        assert_eq!(mean.decode(), [0.5]);

        fs::write(file("short"), b"no secret").unwrap();
        let error = secret(&file("short")).err().unwrap().to_string();
        assert!(error.contains("32 bytes"), "{error}");
    }

    #[test]
    fn a_round_with_another_key_for_this_site_is_refused() {
        let (site, secret): (SiteId, _) = ("seoul".parse().unwrap(), Secret([1; 32]));
        let of = (JobId(1), 0);
        let mut keys = BTreeMap::from([(site.clone(), MaskKey(secret.key()))]);
        keys.insert("busan".parse().unwrap(), MaskKey(Secret([2; 32]).key()));
        assert_eq!(masks(&secret, of, &site, &keys).unwrap().len(), 2);
        keys.insert(site.clone(), MaskKey(Secret([3; 32]).key()));
        assert!(masks(&secret, of, &site, &keys).is_err());
    }
}
