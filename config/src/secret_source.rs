//! Where a secret is written: not in the policy itself, if it can be helped.

use serde_json::json;

use crate::Secret;
use crate::environment::is_variable_name;
use crate::read::{Reader, members};

/// A secret: `@env:NAME`, `@file:path`, or the text itself, which is warned of. Never quoted in a problem.
pub(crate) fn secret(r: &Reader<'_>) -> Option<Secret> {
    describe(r);
    let (bytes, literal) = source(r, true)?;
    if literal {
        r.warn("a secret is written into the policy", "write \"@env:NAME\" or \"@file:path\"");
    }
    Some(Secret::new(bytes))
}

/// Something long that is read like a secret and is none, such as a public key.
pub(crate) fn document(r: &Reader<'_>) -> Option<Secret> {
    describe(r);
    source(r, false).map(|(bytes, _)| Secret::new(bytes))
}

/// A URL that may carry a password.
pub(crate) fn secret_url(r: &Reader<'_>) -> Option<(Secret, url::Url)> {
    describe(r);
    let (bytes, literal) = source(r, true)?;
    let Some(url) = std::str::from_utf8(&bytes).ok().and_then(|text| url::Url::parse(text).ok()) else {
        r.problem("this is not a URL", "write it as in redis://127.0.0.1:6379/0");
        return None;
    };
    if literal && url.password().is_some() {
        r.warn(
            "a password is written into the policy",
            "write \"@env:NAME\" or \"@file:path\", or use \"${NAME}\"",
        );
    }
    Some((Secret::new(bytes), url))
}

fn describe(r: &Reader<'_>) {
    r.describe_with(|schema| {
        schema.extend(members(json!({"type": "string", "examples": ["@env:NAME", "@file:path"]})));
    });
}

/// The bytes, and whether they stand in the policy itself.
fn source(r: &Reader<'_>, private: bool) -> Option<(Vec<u8>, bool)> {
    let written = r.scalar()?;
    let (bytes, literal) = if let Some(name) = written.text.strip_prefix("@env:") {
        (from_environment(r, name, written.variable)?, false)
    } else if let Some(path) = written.text.strip_prefix("@file:") {
        (from_file(r, path, written.quoted(), private)?, false)
    } else if written.text.starts_with("@secret:") {
        r.problem("no secret file is configured", "write \"@env:NAME\" or \"@file:path\"");
        return None;
    } else {
        (written.text.into_bytes(), !written.variable)
    };
    if bytes.is_empty() {
        r.problem("the secret is empty", "put it where it is read from");
        return None;
    }
    Some((bytes, literal))
}

fn from_environment(r: &Reader<'_>, name: &str, hidden: bool) -> Option<Vec<u8>> {
    if !is_variable_name(name) {
        r.problem(
            "what follows \"@env:\" is not the name of a variable",
            "use letters, digits and underscores",
        );
        return None;
    }
    let value = r.loading.environment.get(name);
    if value.is_none() {
        let shown = if hidden { "it names" } else { name };
        r.problem(
            format!("the variable {shown} is not set"),
            format!("set {}", if hidden { "it" } else { name }),
        );
    }
    value.map(String::into_bytes)
}

/// One line end is cut from the end, because editors write one.
fn from_file(r: &Reader<'_>, path: &str, quoted: &str, private: bool) -> Option<Vec<u8>> {
    if path.is_empty() {
        r.problem("no path follows \"@file:\"", "write \"@file:path\"");
        return None;
    }
    let path = r.loading.resolve(r.span()?.file, path);
    match r.loading.read_file(&path) {
        Ok(mut bytes) => {
            if private {
                warn_if_everyone_reads(r, &path);
            }
            for end in [b'\n', b'\r'] {
                if bytes.last() == Some(&end) {
                    bytes.pop();
                }
            }
            Some(bytes)
        }
        Err(reason) => {
            r.problem(
                format!("the file of {quoted} {reason}"),
                "write the path of a file this user may read",
            );
            None
        }
    }
}

/// Warns of a file with a secret that every user of the machine may read.
pub(crate) fn warn_if_everyone_reads(r: &Reader<'_>, path: &std::path::Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let everyone =
            std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
        if everyone {
            let what =
                format!("every user of this machine may read the file of {}", crate::scalar::quoted(r));
            r.warn(what, "take the permission away, as with chmod 600");
        }
    }
    #[cfg(not(unix))]
    let _ = (r, path);
}
