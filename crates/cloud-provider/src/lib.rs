//! cloud-provider
