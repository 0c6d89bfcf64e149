//! A store's client: where it is, by which credentials, and over which connections.
//!
//! Credentials come from the environment, under the names that the stores' own tools have. Those
//! of the machine (the metadata services of clouds) are asked for only where the environment says
//! so by name: otherwise a forgotten key would be a long wait for an address that is not there.
//! A server's connections follow no redirect and reach no address of the machine or the link, but
//! where the operator's rule names such a one.

use std::{
    env,
    error::Error as _,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Once},
    time::Duration,
};

use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig,
    aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder,
    client::{HttpClient, HttpConnector},
    gcp::GoogleCloudStorageBuilder,
    http::HttpBuilder,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{edge::failed, location::Location, rules::StoreRule};

/// How long a connection may take, a read may stall, and a request may take as a whole.
const CONNECT: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(20);
const REQUEST: Duration = Duration::from_mins(1);

/// What names the user's or the machine's credentials in the environment.
const AWS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
    "AWS_METADATA_ENDPOINT",
];
const GOOGLE: [&str; 6] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_SKIP_SIGNATURE",
];
const AZURE: [&str; 12] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_MSI_ENDPOINT",
    "AZURE_USE_AZURE_CLI",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_SKIP_SIGNATURE",
];

/// Has TLS use ring, in all of the process; HTTP clients can be made only then.
pub fn prepare_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // One that is there already does as well.
        rustls::crypto::ring::default_provider().install_default().ok();
    });
}

/// The store that a location is in.
pub(super) fn connect(
    location: &Location,
    rule: Option<&StoreRule>,
) -> io::Result<Arc<dyn ObjectStore>> {
    prepare_tls();
    let endpoint =
        rule.and_then(|rule| rule.endpoint.clone()).or_else(|| endpoint(location.scheme));
    let is_plain = location.scheme == "http"
        || endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
    if is_plain && rule.is_some_and(|rule| !rule.allow_http) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "its endpoint is not encrypted, and its rule does not say allow_http=true",
        ));
    }
    let own = endpoint.clone().unwrap_or_else(|| location.root());
    let connector = Connector {
        is_guarded: rule.is_some(),
        reaches_local: host_of(&own).is_some_and(is_local_name),
    };
    let options = ClientOptions::new().with_allow_http(is_plain);
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: 5,
        retry_timeout: Duration::from_secs(45),
    };
    let host = location.host.as_str();
    let store: object_store::Result<Arc<dyn ObjectStore>> = match location.scheme {
        "s3" => {
            require(&AWS, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")?;
            let mut builder = AmazonS3Builder::from_env().with_bucket_name(host);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = rule.and_then(|rule| rule.region.clone()) {
                builder = builder.with_region(region);
            }
            let builder = builder.with_client_options(options).with_retry(retry);
            builder.with_http_connector(connector).build().map(|store| Arc::new(store) as _)
        }
        "gs" => {
            require(&GOOGLE, "GOOGLE_APPLICATION_CREDENTIALS")?;
            let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(host);
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(&endpoint);
            }
            let builder = builder.with_client_options(options).with_retry(retry);
            builder.with_http_connector(connector).build().map(|store| Arc::new(store) as _)
        }
        "az" => {
            require(&AZURE, "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")?;
            let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(host);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            let builder = builder.with_client_options(options).with_retry(retry);
            builder.with_http_connector(connector).build().map(|store| Arc::new(store) as _)
        }
        _ => {
            let builder = HttpBuilder::new().with_url(location.root());
            let builder = builder.with_client_options(options).with_retry(retry);
            builder.with_http_connector(connector).build().map(|store| Arc::new(store) as _)
        }
    };
    store.map_err(|error| failed(&error))
}

/// The server that the environment names.
fn endpoint(scheme: &str) -> Option<String> {
    let names: &[&str] = match scheme {
        "s3" => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"],
        "gs" => &["GOOGLE_BASE_URL"],
        "az" => &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"],
        _ => &[],
    };
    names.iter().find_map(|name| env::var(name).ok()).filter(|url| !url.is_empty())
}

/// Refuses to go on without any of these variables.
fn require(names: &[&str], usual: &str) -> io::Result<()> {
    if names.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Ok(());
    }
    let all = names.join(", ");
    let reason = format!(
        "there are no credentials for it: set {usual} in the environment (any of {all} is enough)"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

/// The host of a URL, without its port.
fn host_of(url: &str) -> Option<&str> {
    let host = url.split_once("://")?.1.split('/').next()?;
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    }
}

/// Whether a host is, by its very name, this machine or something on its link.
fn is_local_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_local)
}

/// Whether an address is this machine, on its link, or a cloud's metadata service.
fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            address.is_loopback()
                || address.is_unspecified()
                || segments[0] & 0xffc0 == 0xfe80
                || segments == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// Makes the client of one store.
#[derive(Clone, Copy, Debug)]
struct Connector {
    /// A server's: jobs of others choose the URLs.
    is_guarded: bool,
    /// The operator's rule names an address of the machine or its link.
    reaches_local: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options
            .get_config_value(&ClientConfigKey::AllowHttp)
            .is_some_and(|value| value == "true");
        let builder = || {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("minispark/", env!("CARGO_PKG_VERSION")))
                .https_only(!allows_http)
                .connect_timeout(CONNECT)
                .read_timeout(STALL)
                .timeout(REQUEST);
            if self.is_guarded {
                builder = builder.redirect(reqwest::redirect::Policy::none());
                if !self.reaches_local {
                    builder = builder.dns_resolver(Arc::new(Outward));
                }
            }
            builder
        };
        let client = match builder().build() {
            // What may go unencrypted needs no CA certificates, which the machine may not have.
            Err(_) if allows_http => builder().tls_certs_only([]).build(),
            built => built,
        };
        client.map(HttpClient::new).map_err(|error| object_store::Error::Generic {
            store: "HTTP",
            source: Box::new(NoClient(error)),
        })
    }
}

/// No client can be made: on Linux, because no CA certificates are found.
#[derive(Debug, thiserror::Error)]
#[error(
    "an encrypted connection can't be made: {}; does this machine have CA certificates (the \
     package `ca-certificates`, or a file that `SSL_CERT_FILE` names)?",
    .0.source().map_or_else(|| .0.to_string(), ToString::to_string)
)]
struct NoClient(reqwest::Error);

/// Names, but for those of addresses that no job may reach.
struct Outward;

impl Resolve for Outward {
    fn resolve(&self, name: Name) -> Resolving {
        let host = String::from(name.as_str());
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| !is_local(address.ip())).collect();
            if allowed.is_empty() {
                let refusal = "its name is that of an address which jobs may not reach";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{host_of, is_local, is_local_name};

    #[test]
    fn addresses_of_the_machine_its_link_and_metadata_are_told() {
        let local = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::ffff:169.254.169.254"];
        for address in local.into_iter().chain(["fe80::1", "fd00:ec2::254", "::"]) {
            assert!(is_local(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1"] {
            assert!(!is_local(address.parse().unwrap()), "{address}");
        }
        assert!(is_local_name("LocalHost") && !is_local_name("example.org"));
    }

    #[test]
    fn a_host_is_told_from_its_port() {
        for (url, host) in
            [("http://h:80/x", "h"), ("https://h", "h"), ("http://[::1]:9000", "::1")]
        {
            assert_eq!(host_of(url), Some(host));
        }
    }
}
