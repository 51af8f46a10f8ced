//! Parts of lists: `?after=NAME&limit=N` asks for the next N after a name. Without them a list is told whole.

use schemars::JsonSchema;
use serde::Deserialize;

/// Which part of a list in the order of names.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Part<K> {
    /// Only what comes after this: the last name of the part before.
    after: Option<K>,
    /// How many at most.
    limit: Option<usize>,
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
            .take(self.limit.unwrap_or(usize::MAX))
    }
}
