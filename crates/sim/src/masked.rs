//! What a site does about the masks of a private job, with the product's own arithmetic and a simulated disk.

use crate::Bug;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::private::Privacy;
use consortium::{JobId, MaskKey};
use site::{Answer, Do, SiteError, masks, seeds};
use std::io::ErrorKind;
use sync::private::{Secret, mask, sum};

const SECRET: &str = "mask.secret";

/// Tells on what a site is about to put its masks, if that is what it is about to do.
pub(crate) fn tell(todo: &Do, disk: &Disk, privacy: &mut Privacy) -> Result<(), String> {
    let Do::Mask {
        job,
        round,
        site,
        file,
        masked,
        ..
    } = todo
    else {
        return Ok(());
    };
    match disk.read(&path(*job, file)) {
        Some(update) if disk.read(&path(*job, masked)).is_none() => {
            privacy.masks((*job, *round, site.clone()), update)
        }
        _ => Ok(()),
    }
}

/// Carries out one of the four; panics at anything else.
pub(crate) fn carry_out(
    todo: &Do,
    disk: &mut Disk,
    dice: &mut Dice,
    bug: Option<Bug>,
) -> Result<Answer, SiteError> {
    match todo {
        Do::Key(job) => {
            let known = secret(disk, *job)
                .unwrap_or_else(|_| Secret(std::array::from_fn(|_| dice.between(0, 255) as u8)));
            disk.write_whole(&path(*job, SECRET), known.0.to_vec());
            Ok(Answer::Key(MaskKey(known.key())))
        }
        Do::Seeds(job, asked) => Ok(Answer::Seeds(seeds(&secret(disk, *job)?, *job, asked)?)),
        Do::Mask {
            job,
            round,
            site,
            keys,
            file,
            masked,
        } => {
            let masked = path(*job, masked);
            if disk.read(&masked).is_none() {
                let mut masks = masks(&secret(disk, *job)?, (*job, *round), site, keys)?;
                if bug == Some(Bug::ForgetsAMask) {
                    masks.pop();
                }
                let bytes = mask(&read(disk, &path(*job, file))?, &masks)?;
                disk.write_whole(&masked, bytes);
            }
            Ok(Answer::Done)
        }
        Do::Sum {
            job,
            masked,
            lifted,
            of,
            samples,
            file,
        } => {
            let sent = masked.iter().map(|file| read(disk, &path(*job, file)));
            let sent: Vec<Vec<u8>> = sent.collect::<Result<_, SiteError>>()?;
            let sum = sum(sent.iter().map(Vec::as_slice), lifted, *of, *samples)?;
            disk.write_whole(&path(*job, file), sum);
            Ok(Answer::Done)
        }
        other => unreachable!("it has no masks: {other:?}"),
    }
}

fn secret(disk: &Disk, job: JobId) -> Result<Secret, SiteError> {
    let bytes = read(disk, &path(job, SECRET))?;
    Ok(Secret(bytes.try_into().expect("it was written whole")))
}

fn read(disk: &Disk, path: &str) -> Result<Vec<u8>, SiteError> {
    let bytes = disk.read(path);
    bytes.map(|bytes| bytes.to_vec()).ok_or_else(|| SiteError::File {
        path: path.into(),
        why: ErrorKind::NotFound.into(),
    })
}

fn path(job: JobId, file: &str) -> String {
    format!("{job}/{file}")
}
