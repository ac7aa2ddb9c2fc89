package org.tensorflow.lite;

import static org.bytedeco.tensorflowlite.global.tensorflowlite.TfLiteVersion;

/** The version of the desktop library, under the name by which the AAR tells its own. */
public final class TensorFlowLite {
    private TensorFlowLite() {}

    public static String runtimeVersion() {
        return TfLiteVersion().getString();
    }
}
