package org.msdedge.cascade

/** What went wrong, as one sentence that can be shown: what, where, what to do. */
sealed class CascadeError(message: String) : Exception(message)

/** The bundle is missing, damaged, contradictory or of a newer schema. */
class BundleError(message: String) : CascadeError(message)

/** A setting does not fit the bundle, or there is no such thing. */
class ConfigError(message: String) : CascadeError(message)

/** The runtime that a variant needs is not part of this app, cannot start, or cannot run a file. */
class RuntimeUnavailable(message: String) : CascadeError(message)

/** The files do not compute here what they computed at export. */
class ParityError(message: String) : CascadeError(message)

/** A picture is not one that can be classified. */
class ImageError(message: String) : CascadeError(message)
