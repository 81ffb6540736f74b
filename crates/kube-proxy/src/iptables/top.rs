//! The chains that are always there, and the rules in the built-in chains that lead to them.

use super::render::Settings;

/// A rule in a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// `filter` or `nat`.
    pub table: &'static str,
    /// Where packets come from.
    pub from: &'static str,
    /// Where they go.
    pub to: &'static str,
    /// The rule's matches.
    pub matches: &'static str,
}

const NEW_PORTALS: &str = r#"-m conntrack --ctstate NEW -m comment --comment "kubernetes service portals""#;
const NEW_EXTERNAL: &str =
    r#"-m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals""#;
const NEW_FIREWALL: &str = r#"-m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall""#;
const PORTALS: &str = r#"-m comment --comment "kubernetes service portals""#;

const fn jump(table: &'static str, from: &'static str, to: &'static str, matches: &'static str) -> Jump {
    Jump { table, from, to, matches }
}

/// Every rule in a built-in chain. Each is put at its chain's head, so that the last one here comes first there.
pub const JUMPS: &[Jump] = &[
    jump("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", NEW_EXTERNAL),
    jump("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", NEW_EXTERNAL),
    jump("filter", "INPUT", "KUBE-NODEPORTS", r#"-m comment --comment "kubernetes health check service ports""#),
    jump("filter", "FORWARD", "KUBE-SERVICES", NEW_PORTALS),
    jump("filter", "OUTPUT", "KUBE-SERVICES", NEW_PORTALS),
    jump("filter", "FORWARD", "KUBE-FORWARD", r#"-m comment --comment "kubernetes forwarding rules""#),
    jump("filter", "INPUT", "KUBE-PROXY-FIREWALL", NEW_FIREWALL),
    jump("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", NEW_FIREWALL),
    jump("filter", "FORWARD", "KUBE-PROXY-FIREWALL", NEW_FIREWALL),
    jump("nat", "OUTPUT", "KUBE-SERVICES", PORTALS),
    jump("nat", "PREROUTING", "KUBE-SERVICES", PORTALS),
    jump("nat", "POSTROUTING", "KUBE-POSTROUTING", r#"-m comment --comment "kubernetes postrouting rules""#),
];

/// The prefixes of every chain that the proxy makes.
pub const OWN_CHAINS: &[&str] = &[
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ",
    "KUBE-PROXY-CANARY",
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-SEP-",
    "KUBE-EXT-",
    "KUBE-FW-",
];

/// The fixed chains of each table with their rules.
#[must_use]
pub fn base(settings: &Settings) -> Vec<(&'static str, &'static str, Vec<String>)> {
    let mark = format!("{:#x}", settings.masquerade_mark);
    let mut forward = Vec::new();
    if !settings.conntrack_be_liberal {
        forward.push("-m conntrack --ctstate INVALID -j DROP".to_owned());
    }
    forward
        .push(format!(r#"-m comment --comment "kubernetes forwarding rules" -m mark --mark {mark}/{mark} -j ACCEPT"#));
    forward.push(
        r#"-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"#.to_owned(),
    );
    let random = if settings.random_fully { " --random-fully" } else { "" };
    let postrouting = vec![
        format!("-m mark ! --mark {mark}/{mark} -j RETURN"),
        // Taken off again, so that the packet is not masqueraded a second time when it is encapsulated.
        format!("-j MARK --xor-mark {mark}"),
        format!(r#"-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE{random}"#),
    ];
    vec![
        ("filter", "KUBE-FORWARD", forward),
        ("nat", "KUBE-POSTROUTING", postrouting),
        ("nat", "KUBE-MARK-MASQ", vec![format!("-j MARK --or-mark {mark}")]),
    ]
}
