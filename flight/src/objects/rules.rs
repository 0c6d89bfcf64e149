//! [`StoreRule`]: a store that an operator has enabled for jobs, and what they may do there.

use std::{path::Path, str::FromStr};

use super::location::Location;

/// A store, or a part of one, that jobs may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRule {
    /// What the operator calls it.
    pub name: String,
    /// All that lies below may be used.
    pub(super) prefix: Location,
    /// Whether jobs may write there.
    pub(super) writes: bool,
    /// The server, where it is not the one that the scheme stands for.
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    /// Whether the connection may be without TLS.
    pub(super) allow_http: bool,
}

/// The rule for a location: that of the longest prefix.
pub(super) fn of<'a>(
    rules: &'a [StoreRule],
    location: &Location,
    is_writing: bool,
) -> Option<&'a StoreRule> {
    let fitting = rules.iter().filter(|rule| location.is_in(&rule.prefix));
    let nearest = fitting.max_by_key(|rule| rule.prefix.key.as_ref().len());
    nearest.filter(|rule| rule.writes || !is_writing)
}

const FORM: &str =
    "NAME=URL[,allow=read|read-write][,endpoint=URL][,region=NAME][,allow_http=true]";

impl FromStr for StoreRule {
    type Err = String;

    /// `NAME=URL[,allow=read|read-write][,endpoint=URL][,region=NAME][,allow_http=true]`
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let named = parts.next().and_then(|first| first.split_once('='));
        let (name, url) = named.ok_or_else(|| format!("expected {FORM}"))?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            return Err(format!("a store's name is of letters, digits, `_` and `-`: {FORM}"));
        }
        if !url.contains("://") || url.contains('@') {
            return Err(format!(
                "`{name}` needs a URL such as s3://bucket/prefix, without a user; credentials come \
                 from the environment"
            ));
        }
        let prefix = Location::of(Path::new(url)).map_err(|error| format!("`{name}`: {error}"))?;
        let mut rule = Self {
            name: String::from(name),
            allow_http: prefix.scheme == "http",
            prefix,
            writes: false,
            endpoint: None,
            region: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("allow", "read")) => rule.writes = false,
                Some(("allow", "read-write")) if rule.prefix.is_http() => {
                    return Err(format!("`{name}`: http(s) can be read only"));
                }
                Some(("allow", "read-write")) => rule.writes = true,
                Some(("endpoint", server))
                    if ["http://", "https://"].iter().any(|start| server.starts_with(start))
                        && !server.contains('@')
                        && !rule.prefix.is_http() =>
                {
                    rule.endpoint = Some(String::from(server));
                }
                Some(("region", region)) => rule.region = Some(String::from(region)),
                Some(("allow_http", "true")) => rule.allow_http = true,
                Some(("allow_http", "false")) => rule.allow_http = false,
                _ => return Err(format!("`{name}`: `{part}` is not known; {FORM}")),
            }
        }
        if rule.prefix.scheme == "http" && !rule.allow_http {
            return Err(format!("`{name}`: an http:// URL can't be without http"));
        }
        let is_plain = rule.endpoint.as_ref().is_some_and(|server| server.starts_with("http://"));
        if is_plain && !rule.allow_http {
            return Err(format!("`{name}`: its endpoint is not encrypted; say allow_http=true"));
        }
        Ok(rule)
    }
}

/// Several of them, with `;` between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreRules(pub Vec<StoreRule>);

impl FromStr for StoreRules {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let texts = text.split(';').map(str::trim).filter(|text| !text.is_empty());
        let rules: Vec<StoreRule> = texts.map(str::parse).collect::<Result<_, _>>()?;
        for (place, rule) in rules.iter().enumerate() {
            if rules[..place].iter().any(|other| other.name == rule.name) {
                return Err(format!("two stores have the name `{}`", rule.name));
            }
        }
        Ok(Self(rules))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{StoreRule, StoreRules, of};
    use crate::objects::location::Location;

    #[test]
    fn a_rule_says_what_jobs_may_do_and_where() {
        let text = "lake=s3://b/data,allow=read-write,endpoint=http://m:9000,allow_http=true;\
                    raw=s3://b/data/raw; web=https://h";
        let StoreRules(rules) = text.parse().unwrap();
        let rule = |url: &str, is_writing| {
            let location = Location::of(Path::new(url)).unwrap();
            of(&rules, &location, is_writing).map(|rule| rule.name.as_str())
        };
        assert_eq!(rule("s3://b/data/x", true), Some("lake"));
        assert_eq!(rule("s3://b/data/raw/x", false), Some("raw"));
        assert_eq!(rule("s3://b/data/raw/x", true), None);
        assert_eq!(rule("https://h/x", false), Some("web"));
        assert_eq!(rule("http://h/x", false), None);
        assert_eq!(rule("s3://b/other", false), None);
    }

    #[test]
    fn what_a_rule_can_not_be_is_said() {
        for (text, reason) in [
            ("s3://b", "expected NAME=URL"),
            ("a=b", "needs a URL"),
            ("a=s3://key:secret@b", "credentials come from the environment"),
            ("a=ftp://h", "no URL of a known kind"),
            ("a=s3://b,allow=all", "`allow=all` is not known"),
            ("a=s3://b,endpoint=http://m", "say allow_http=true"),
            ("a=https://h,allow=read-write", "can be read only"),
            ("a=s3://b;a=s3://c", "two stores have the name `a`"),
        ] {
            let error = text.parse::<StoreRules>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!("a=s3://b,".parse::<StoreRule>().is_err());
    }
}
