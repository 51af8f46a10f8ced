//! A file that a person fills in, and the example to begin with.

use crate::failure::Failure;
use crate::show;
use std::path::PathBuf;

/// Arguments of a command that does what a file says.
#[derive(clap::Args)]
pub(crate) struct Form {
    /// The file, as TOML.
    #[arg(required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print an example of such a file, and do nothing.
    #[arg(long)]
    example: bool,
}

impl Form {
    /// What `read` makes of the file. None if the example was asked for; then it is printed.
    pub(crate) fn filled<T>(
        &self,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let Some(path) = self.file.as_ref().filter(|_| !self.example) else {
            show::print(example);
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|e| Failure::unread(path, &e))?;
        let hint = "compare it with one that works, as --example prints it";
        let filled = read(&text).map_err(|why| Failure::file(path, why).hint(hint))?;
        Ok(Some(filled))
    }
}
