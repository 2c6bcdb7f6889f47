//! Choosing versions: one resolver for each ecosystem, each giving pins for the target platform, never the host's.
//!
//! Resolvers use the network and the store's memos. They never import each other; ties are broken by rule, so that
//! resolving twice against the same registry state gives the same pins.

pub mod apt;
pub mod image;
pub mod npm;
pub mod pip;
