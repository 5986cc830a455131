"""Pictures of Gaussians: one interface, several engines."""
