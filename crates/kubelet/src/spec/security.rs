//! Security contexts: the container's own settings over the pod's.

use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};
use k8s_cri::v1::{
    Capability, Image, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy, security_profile::ProfileType,
};
use std::path::Path;

/// Paths of /proc and /sys that containers don't see, unless they ask for an unmasked /proc.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the node adds to a pod's security.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeSecurity {
    /// Directory of localhost seccomp profiles.
    pub seccomp_root: std::path::PathBuf,
    /// Without a profile of its own a container runs under the runtime's.
    pub seccomp_default: bool,
}

/// The namespaces that the pod shares.
pub(crate) fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod.spec();
    let node_or_pod = |host: Option<bool>| if host == Some(true) { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Node,
        (_, Some(true)) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    NamespaceOption {
        network: node_or_pod(spec.host_network).into(),
        ipc: node_or_pod(spec.host_ipc).into(),
        pid: pid.into(),
        target_id: String::new(),
        userns_options: None,
    }
}

fn int(value: i64) -> Int64Value {
    Int64Value { value }
}

fn groups(context: &PodSecurityContext) -> Vec<i64> {
    context.fs_group.into_iter().chain(context.supplemental_groups.iter().flatten().copied()).collect()
}

fn groups_policy(context: &PodSecurityContext) -> i32 {
    match context.supplemental_groups_policy.as_deref() {
        Some("Strict") => SupplementalGroupsPolicy::Strict.into(),
        _ => SupplementalGroupsPolicy::Merge.into(),
    }
}

/// The sandbox's security context. It runs under the runtime's seccomp profile whatever its containers ask for.
pub(crate) fn sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let context = pod.spec().security_context.clone().unwrap_or_default();
    let privileged = pod.init().iter().chain(pod.main()).any(is_privileged);
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: context.se_linux_options.as_ref().map(selinux),
        run_as_user: context.run_as_user.map(int),
        run_as_group: context.run_as_group.map(int),
        supplemental_groups: groups(&context),
        supplemental_groups_policy: groups_policy(&context),
        privileged,
        seccomp: Some(profile(ProfileType::RuntimeDefault, "")),
        ..LinuxSandboxSecurityContext::default()
    }
}

/// Whether the container asks for all privileges.
pub(crate) fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|context| context.privileged) == Some(true)
}

fn selinux(options: &SELinuxOptions) -> SeLinuxOption {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    SeLinuxOption {
        user: part(&options.user),
        role: part(&options.role),
        r#type: part(&options.type_),
        level: part(&options.level),
    }
}

fn profile(kind: ProfileType, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: kind.into(), localhost_ref: reference.to_owned() }
}

fn seccomp(wanted: Option<&SeccompProfile>, node: &NodeSecurity) -> SecurityProfile {
    match wanted.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_deref().unwrap_or_default())) {
        Some(("RuntimeDefault", _)) => profile(ProfileType::RuntimeDefault, ""),
        Some(("Localhost", name)) => {
            profile(ProfileType::Localhost, &Path::new(&node.seccomp_root).join(name).to_string_lossy())
        }
        None if node.seccomp_default => profile(ProfileType::RuntimeDefault, ""),
        _ => profile(ProfileType::Unconfined, ""),
    }
}

fn apparmor(wanted: &AppArmorProfile) -> SecurityProfile {
    match wanted.type_.as_str() {
        "Localhost" => profile(ProfileType::Localhost, wanted.localhost_profile.as_deref().unwrap_or_default()),
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault, ""),
        _ => profile(ProfileType::Unconfined, ""),
    }
}

/// The container's security context.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    image: Option<&Image>,
    node: &NodeSecurity,
) -> LinuxContainerSecurityContext {
    let of_pod = pod.spec().security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|&path| path.to_owned()).collect() };
    let user = own.run_as_user.or(of_pod.run_as_user).or_else(|| image.and_then(image_uid));
    let named_user = image.map(|image| image.username.clone()).filter(|name| user.is_none() && !name.is_empty());
    LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|wanted| Capability {
            add_capabilities: wanted.add.clone().unwrap_or_default(),
            drop_capabilities: wanted.drop.clone().unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(namespaces(pod)),
        selinux_options: own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref()).map(selinux),
        run_as_user: user.map(int),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(int),
        run_as_username: named_user.unwrap_or_default(),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(seccomp(own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()), node)),
        apparmor: own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref()).map(apparmor),
        ..LinuxContainerSecurityContext::default()
    }
}

/// The user that the image runs as; root where it names none, and nothing where it names one by name.
fn image_uid(image: &Image) -> Option<i64> {
    match image.uid {
        Some(uid) => Some(uid.value),
        None => image.username.is_empty().then_some(0),
    }
}

/// Refuses root where the pod forbids it; the text is upstream's.
pub(crate) fn verify_non_root(pod: &Pod, container: &Container, image: &Image) -> Result<(), String> {
    let of_pod = pod.spec().security_context.as_ref();
    let own: Option<&SecurityContext> = container.security_context.as_ref();
    let required = own.and_then(|c| c.run_as_non_root).or(of_pod.and_then(|c| c.run_as_non_root)) == Some(true);
    if !required {
        return Ok(());
    }
    let place = format!("pod: \"{}\", container: {}", pod.long_name(), container.name);
    match own.and_then(|c| c.run_as_user).or(of_pod.and_then(|c| c.run_as_user)) {
        Some(0) => return Err(format!("container's runAsUser breaks non-root policy ({place})")),
        Some(_) => return Ok(()),
        None => {}
    }
    match image_uid(image) {
        Some(0) => Err(format!("container has runAsNonRoot and image will run as root ({place})")),
        Some(_) => Ok(()),
        None => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root ({place})",
            image.username
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn the_container_wins_over_the_pod() {
        let pod: Pod = from_value(json!({"spec": {"hostPID": true, "securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 9, "supplementalGroups": [7]},
            "containers": [{"name": "c", "securityContext": {"runAsUser": 5, "procMount": "Unmasked", "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["NET_ADMIN"]}, "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}}]}}))
        .unwrap();
        let node = NodeSecurity { seccomp_root: "/s".into(), seccomp_default: true };
        let out = container(&pod, &pod.spec().containers[0], None, &node);
        assert_eq!((out.run_as_user, out.run_as_group), (Some(int(5)), Some(int(2))));
        assert_eq!(out.supplemental_groups, [9, 7]);
        assert!(out.no_new_privs && out.masked_paths.is_empty());
        assert_eq!(out.seccomp, Some(profile(ProfileType::Localhost, "/s/p.json")));
        assert_eq!(out.namespace_options.unwrap().pid, i32::from(NamespaceMode::Node));
        let plain = container(&pod, &Container::default(), None, &node);
        assert_eq!(plain.seccomp, Some(profile(ProfileType::RuntimeDefault, "")));
        assert!(plain.masked_paths.contains(&"/proc/kcore".to_owned()));
    }

    #[test]
    fn non_root() {
        let pod: Pod =
            from_value(json!({"spec": {"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]}}))
                .unwrap();
        let check = |image: Image| verify_non_root(&pod, &pod.spec().containers[0], &image);
        assert!(check(Image { uid: Some(int(0)), ..Image::default() }).unwrap_err().contains("image will run as root"));
        assert!(
            check(Image { username: "web".into(), ..Image::default() }).unwrap_err().contains("non-numeric user (web)")
        );
        assert!(check(Image { uid: Some(int(7)), ..Image::default() }).is_ok());
    }
}
