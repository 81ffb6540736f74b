//! kube-apiserver

pub mod connect;
pub mod auth;
