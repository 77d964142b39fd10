//! The proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY` and their like, as curl(1) has them): who it is, and
//! whether it can be used. One that cannot is never gone past in silence.

use ureq::http::Uri;
use ureq::{Agent, Proxy, ProxyProtocol};

use super::NoAnswer;

const UNUSABLE: &str = "the environment names a proxy that cannot be used: it wants one of http:// or https://, in ALL_PROXY, \
                        HTTPS_PROXY or HTTP_PROXY, or the host in NO_PROXY";

/// The proxy through which the agent reaches a URL, as `HOST:PORT`; none where it needs none.
///
/// # Errors
/// Where the environment names one that is not spoken to here, SOCKS or what is no URL, and does not except the host.
pub(super) fn on_the_way(agent: &Agent, uri: &Uri) -> Result<Option<String>, NoAnswer> {
    match agent.config().proxy() {
        Some(proxy) if proxy.is_no_proxy(uri) => Ok(None),
        Some(proxy) if is_spoken(proxy) => Ok(Some(format!("{}:{}", proxy.host(), proxy.port()))),
        None if !is_named() || is_excepted(uri) => Ok(None),
        _ => Err(NoAnswer::Unsendable(UNUSABLE)),
    }
}

fn is_spoken(proxy: &Proxy) -> bool {
    matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// Whether the environment names a proxy at all.
fn is_named() -> bool {
    let names = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
    names.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Whether it wants none for this host.
fn is_excepted(uri: &Uri) -> bool {
    let hosts = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).unwrap_or_default();
    let any = Proxy::builder(ProxyProtocol::Http).host("any");
    let proxy = hosts.split(',').filter(|host| !host.is_empty()).fold(any, |any, host| any.no_proxy(host)).build();
    proxy.is_ok_and(|proxy| proxy.is_no_proxy(uri))
}
