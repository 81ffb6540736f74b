//! Host names and the content of /etc/hosts.

use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::Pod;

const MAX_HOSTNAME: usize = 63;
const MAX_FQDN: usize = 64;

/// The pod's host name and, with a subdomain, its domain.
pub(crate) fn names(pod: &Pod, cluster_domain: &str) -> Result<(String, String), String> {
    let spec = pod.spec();
    if let Some(fixed) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return Ok((fixed.to_owned(), String::new()));
    }
    let wanted = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(|| pod.pod_name());
    let hostname = wanted[..wanted.len().min(MAX_HOSTNAME)].trim_end_matches(['-', '.']).to_owned();
    if hostname.is_empty() {
        return Err(format!("hostname from pod name {:?} has only forbidden characters", pod.pod_name()));
    }
    let domain = match spec.subdomain.as_deref().filter(|name| !name.is_empty()) {
        Some(subdomain) => format!("{subdomain}.{}.svc.{cluster_domain}", pod.ns()),
        None => String::new(),
    };
    Ok((hostname, domain))
}

/// What `uname -n` shows in the pod.
pub(crate) fn kernel_name(pod: &Pod, hostname: &str, domain: &str) -> Result<String, String> {
    if pod.spec().set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(hostname.to_owned());
    }
    let fqdn = format!("{hostname}.{domain}");
    if fqdn.len() > MAX_FQDN {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({MAX_FQDN} characters is the max, {} characters requested)",
            fqdn.len()
        ));
    }
    Ok(fqdn)
}

/// The pod's /etc/hosts; `host_file` is the node's own, for pods on its network.
pub(crate) fn file(
    pod: &Pod,
    pod_ips: &[String],
    cluster_domain: &str,
    host_file: Option<&str>,
) -> Result<String, String> {
    let mut out = match host_file {
        Some(text) => format!("# Kubernetes-managed hosts file (host network).\n{text}"),
        None => {
            let mut out = String::from(
                "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
            );
            let (hostname, domain) = names(pod, cluster_domain)?;
            for ip in pod_ips {
                match domain.is_empty() {
                    true => out.push_str(&format!("{ip}\t{hostname}\n")),
                    false => out.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n")),
                }
            }
            out
        }
    };
    let aliases = pod.spec().host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            out.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t")));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn pod(name: &str, spec: serde_json::Value) -> Pod {
        from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec})).unwrap()
    }

    #[test]
    fn host_names() {
        let long = "a".repeat(62) + "-b";
        assert_eq!(names(&pod(&long, json!({"containers": []})), "c").unwrap().0, "a".repeat(62));
        let sub = pod("p", json!({"containers": [], "hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true}));
        let (name, domain) = names(&sub, "c.l").unwrap();
        assert_eq!((name.as_str(), domain.as_str()), ("h", "s.n.svc.c.l"));
        assert_eq!(kernel_name(&sub, &name, &domain).unwrap(), "h.s.n.svc.c.l");
    }

    #[test]
    fn aliases_follow() {
        let spec = json!({"containers": [], "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]});
        let text = file(&pod("p", spec), &["10.0.0.9".into()], "c", None).unwrap();
        assert!(text.ends_with("10.0.0.9\tp\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
    }
}
