//! Plain files beside a repository that help a person who has the place and nothing else: the program itself,
//! a page of text. Nothing ever trusts them: who uses one compares its hash with the kit's.

use crate::error::RepoResult;
use crate::names;
use crate::open::Repo;
use std::ops::ControlFlow;
use storage::{ErrorKind, ObjectName, PutMode};

/// The name of a plain file for people: lower-case letters, digits, `-` and `.` only.
fn tool(file: &str) -> ObjectName {
    names::name(&format!("{}{file}", names::TOOLS))
}

/// Puts a plain file for people beside the repository, unless one of this length is there. Returns whether
/// it was put.
pub fn store_tool(repo: &Repo, file: &str, bytes: &[u8]) -> RepoResult<bool> {
    let name = tool(file);
    match repo.store().stat(&name) {
        Ok(found) if found.len_bytes == bytes.len() as u64 => return Ok(false),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(repo.store_error(e)),
        _ => repo.put(&name, bytes, PutMode::Replace)?,
    }
    repo.sync()?;
    Ok(true)
}

/// Larger ones are none of ours.
const TOOL_BYTES_MAX: u64 = 1 << 30;

/// The bytes of a plain file.
pub fn read_tool(repo: &Repo, file: &str) -> RepoResult<Vec<u8>> {
    repo.store().get(&tool(file), TOOL_BYTES_MAX).map_err(|e| repo.store_error(e))
}

/// The plain files that are there, with their lengths.
pub fn tools(repo: &Repo) -> RepoResult<Vec<(String, u64)>> {
    let mut found = Vec::new();
    repo.list(names::TOOLS, |info| {
        found.push((info.name.file_name().to_string(), info.len_bytes));
        ControlFlow::Continue(())
    })?;
    found.sort();
    Ok(found)
}
