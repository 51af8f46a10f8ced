//! Parts of lists: `?after=NAME&limit=N` asks for the next N after a name. Whoever gets fewer has come to the end.

use schemars::JsonSchema;
use serde::Deserialize;

/// Which part of a list in the order of names.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Part<K> {
    /// Only what comes after this: the last name of the part before.
    after: Option<K>,
    /// How many at most.
    #[serde(default)]
    limit: Limit,
}

impl<K: Ord> Part<K> {
    /// Of `all`, which are in the order of their names, those that are asked for.
    pub(crate) fn of<T>(
        &self,
        all: impl Iterator<Item = T>,
        name: impl Fn(&T) -> &K,
    ) -> impl Iterator<Item = T> {
        let after = self.after.as_ref();
        all.filter(move |it| after.is_none_or(|after| name(it) > after))
            .take(self.limit.get())
    }

    /// The same where several may have one name: all of a name are told together, so it may be some more.
    pub(crate) fn of_groups<T>(&self, all: Vec<T>, name: impl Fn(&T) -> &K) -> Vec<T> {
        let after = self.after.as_ref();
        let mut all = all;
        all.retain(|it| after.is_none_or(|after| name(it) > after));
        if let Some(last) = all.get(self.limit.get() - 1) {
            let end = all.partition_point(|it| name(it) <= name(last));
            all.truncate(end);
        }
        all
    }
}

/// Whether what is asked for is `this`; whoever doesn't ask takes anything.
pub(crate) fn fits<T: PartialEq>(asked: Option<&T>, this: &T) -> bool {
    asked.is_none_or(|asked| asked == this)
}

/// How many of a list are told at most.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
#[schemars(inline, extend("minimum" = 1, "maximum" = LARGEST, "default" = USUAL))]
pub(crate) struct Limit(u32);

const USUAL: u32 = 200;
const LARGEST: u32 = 1_000;

impl Limit {
    pub(crate) fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(USUAL)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;
    fn try_from(limit: u32) -> Result<Self, String> {
        let fits = (1..=LARGEST).contains(&limit);
        fits.then_some(Self(limit))
            .ok_or_else(|| format!("a part has 1 to {LARGEST}, not {limit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_name_are_told_together() {
        let all = vec![(1, 'a'), (1, 'b'), (2, 'c'), (3, 'd'), (3, 'e')];
        let told = |after, limit| {
            let limit = Limit::try_from(limit).unwrap();
            let part = Part { after, limit }.of_groups(all.clone(), |(name, _)| name);
            part.into_iter().map(|(_, letter)| letter).collect::<String>()
        };
        for (after, limit, expected) in [
            (None, 1, "ab"),
            (None, 3, "abc"),
            (None, 4, "abcde"),
            (Some(1), 1, "c"),
            (Some(2), 9, "de"),
            (Some(3), 1, ""),
        ] {
            assert_eq!(told(after, limit), expected, "{after:?} {limit}");
        }
        assert!(Limit::try_from(0).is_err());
        assert!(Limit::try_from(LARGEST + 1).is_err());
    }
}
