use super::*;

fn name(name: &str) -> ServiceName {
    ServiceName { namespace: "d".into(), name: name.into() }
}

fn fragment(service: &str, endpoints: &[&str]) -> Fragment {
    let mut fragment = Fragment::default();
    if endpoints.is_empty() {
        fragment.rejected.push(format!("-d {service} -j REJECT"));
        return fragment;
    }
    fragment.services.push(format!("-d {service} -j KUBE-SVC-{service}"));
    fragment
        .chains
        .insert(format!("KUBE-SVC-{service}"), endpoints.iter().map(|e| format!("-j KUBE-SEP-{e}")).collect());
    for endpoint in endpoints {
        fragment.chains.insert(format!("KUBE-SEP-{endpoint}"), vec![format!("-j DNAT --to-destination {endpoint}")]);
    }
    fragment
}

fn apply(state: &mut State, fragments: Vec<(ServiceName, Fragment)>, complete: bool, stale: &[&str]) -> String {
    let stale = stale.iter().map(|s| (*s).to_owned()).collect();
    let change = state.change(fragments, &Settings::default(), complete, &stale);
    let input = change.input.clone();
    state.applied(change);
    input
}

#[test]
fn the_first_change_is_complete_and_removes_what_is_stale() {
    let mut state = State::default();
    let input = apply(&mut state, vec![(name("a"), fragment("a", &["1"]))], true, &["KUBE-SVC-old", "KUBE-SEP-1"]);
    for part in [
        "*filter\n",
        "*nat\n",
        ":KUBE-SERVICES - [0:0]\n",
        ":KUBE-MARK-MASQ - [0:0]\n",
        "-A KUBE-SVC-a -j KUBE-SEP-1\n",
        "-X KUBE-SVC-old\n",
    ] {
        assert!(input.contains(part), "no {part} in {input}");
    }
    assert!(!input.contains("-X KUBE-SEP-1"));
    let last = input.lines().rfind(|l| l.starts_with("-A KUBE-SERVICES"));
    assert!(last.is_some_and(|l| l.ends_with("-j KUBE-NODEPORTS")));
}

#[test]
fn a_change_of_endpoints_touches_only_its_chains() {
    let mut state = State::default();
    let both = vec![(name("a"), fragment("a", &["1", "2"])), (name("b"), fragment("b", &["3"]))];
    apply(&mut state, both, true, &[]);
    let input = apply(&mut state, vec![(name("a"), fragment("a", &["1", "4"]))], false, &[]);
    assert_eq!(
        input,
        "*nat\n:KUBE-SEP-4 - [0:0]\n:KUBE-SVC-a - [0:0]\n:KUBE-SEP-2 - [0:0]\n-A KUBE-SEP-4 -j DNAT --to-destination 4\n\
         -A KUBE-SVC-a -j KUBE-SEP-1\n-A KUBE-SVC-a -j KUBE-SEP-4\n-X KUBE-SEP-2\nCOMMIT\n"
    );
    assert_eq!(apply(&mut state, vec![(name("a"), fragment("a", &["1", "4"]))], false, &[]), "", "nothing changed");
}

#[test]
fn shared_chains_are_rewritten_when_a_part_of_them_changes() {
    let mut state = State::default();
    apply(&mut state, vec![(name("a"), fragment("a", &["1"])), (name("b"), fragment("b", &["3"]))], true, &[]);
    let input = apply(&mut state, vec![(name("a"), fragment("a", &[]))], false, &[]);
    assert!(input.contains("-A KUBE-SERVICES -d a -j REJECT") && input.contains("-A KUBE-SERVICES -d b -j KUBE-SVC-b"));
    assert!(input.contains("-X KUBE-SVC-a") && !input.contains("KUBE-SVC-b -"));
    let input = apply(&mut state, vec![(name("a"), Fragment::default())], false, &[]);
    assert!(input.contains("*filter") && !input.contains("REJECT") && !input.contains("*nat"), "{input}");
    assert_eq!(state.services().count(), 1);
}
