//! [`Location`]: a URL taken apart.

use std::{
    io,
    path::{Path, PathBuf},
};

use minispark_engine::disk::remote;
use object_store::path::Path as Key;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) scheme: &'static str,
    /// The bucket, the container, or the host with its port.
    pub(super) host: String,
    /// The object's name in it; empty for all of it.
    pub(super) key: Key,
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

impl Location {
    /// That of a path which is a URL.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let scheme = remote::scheme(path).ok_or_else(|| invalid("no URL of a known kind"))?;
        let text = path.to_str().ok_or_else(|| invalid("not UTF-8"))?;
        let rest = text[scheme.len() + 1..].trim_start_matches('/');
        let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || host.contains('@') {
            return Err(invalid("a URL has a bucket or a host, and no user"));
        }
        let key = key.trim_end_matches('/');
        let is_web = remote::is_http(path);
        let key = if is_web { Key::from_url_path(key) } else { Key::parse(key) };
        let host = if is_web { host.to_ascii_lowercase() } else { String::from(host) };
        Ok(Self { scheme, host, key: key.map_err(|error| invalid(error.to_string()))? })
    }

    /// What it shares with all that is in the same bucket or at the same host.
    pub(super) fn root(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// The URL of another object in the same place.
    pub(super) fn url_of(&self, key: &Key) -> PathBuf {
        PathBuf::from(format!("{}/{key}", self.root()))
    }

    /// Whether it is `other` or lies below it.
    pub(super) fn is_in(&self, other: &Self) -> bool {
        (self.scheme, &self.host) == (other.scheme, &other.host)
            && self.key.prefix_matches(&other.key)
    }

    pub(super) fn is_http(&self) -> bool {
        matches!(self.scheme, "http" | "https")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Location;

    #[test]
    fn a_url_has_a_bucket_and_a_key_whatever_its_slashes() {
        for url in ["s3://b/a/k", "s3:/b/a/k", "s3://b/a/k/"] {
            let location = Location::of(Path::new(url)).unwrap();
            assert_eq!((location.host.as_str(), location.key.as_ref()), ("b", "a/k"));
            assert_eq!(location.url_of(&location.key), Path::new("s3://b/a/k"));
        }
        let web = Location::of(Path::new("http://H:80/a%20b")).unwrap();
        assert_eq!((web.host.as_str(), web.key.as_ref()), ("h:80", "a b"));
        for url in ["s3://", "s3://u@b/k", "s3://b/a/../k", "http://h/%2e%2e/k", "/s3"] {
            assert!(Location::of(Path::new(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn a_prefix_holds_by_whole_names() {
        let place = |url| Location::of(Path::new(url)).unwrap();
        let prefix = place("s3://b/data");
        assert!(place("s3://b/data").is_in(&prefix) && place("s3://b/data/x").is_in(&prefix));
        for other in ["s3://b/database", "s3://b", "s3://c/data", "gs://b/data"] {
            assert!(!place(other).is_in(&prefix), "{other}");
        }
        assert!(place("s3://b/x").is_in(&place("s3://b")));
    }
}
