package org.tensorflow.lite;

import static org.bytedeco.tensorflowlite.global.tensorflowlite.*;

import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.tensorflowlite.TfLiteInterpreter;
import org.bytedeco.tensorflowlite.TfLiteInterpreterOptions;
import org.bytedeco.tensorflowlite.TfLiteModel;
import org.bytedeco.tensorflowlite.TfLiteQuantizationParams;
import org.bytedeco.tensorflowlite.TfLiteSignatureRunner;
import org.bytedeco.tensorflowlite.TfLiteTensor;

/**
 * What the app uses of the AAR's Interpreter, over the C API of a desktop TFLite, with the AAR's own rules for buffers:
 * direct, of native order, exactly as large as the tensor.
 */
public final class Interpreter implements AutoCloseable {
    /** The AAR's options. */
    public static class Options extends InterpreterApi.Options {
        @Override
        public Options setNumThreads(int threads) {
            super.setNumThreads(threads);
            return this;
        }

        @Override
        public Options setUseXNNPACK(boolean use) {
            super.setUseXNNPACK(use);
            return this;
        }
    }

    private final BytePointer bytes;
    private final TfLiteModel model;
    private final TfLiteInterpreterOptions options;
    private final TfLiteInterpreter interpreter;
    private final Map<String, Signature> signatures = new LinkedHashMap<>();
    private boolean closed;

    public Interpreter(ByteBuffer content, Options chosen) {
        bytes = new BytePointer(content); // the model reads from it as long as it lives
        model = TfLiteModelCreate(bytes, bytes.limit());
        if (model == null) throw new IllegalArgumentException("ByteBuffer is not a valid TensorFlow Lite model flatbuffer");
        options = TfLiteInterpreterOptionsCreate();
        if (chosen.getNumThreads() > 0) TfLiteInterpreterOptionsSetNumThreads(options, chosen.getNumThreads());
        interpreter = TfLiteInterpreterCreate(model, options);
        if (interpreter == null) throw new IllegalArgumentException("Internal error: Cannot create interpreter");
        for (int i = 0; i < TfLiteInterpreterGetSignatureCount(interpreter); i++) {
            String key = TfLiteInterpreterGetSignatureKey(interpreter, i).getString();
            signatures.put(key, new Signature(TfLiteInterpreterGetSignatureRunner(interpreter, key)));
        }
    }

    public String[] getSignatureKeys() {
        return signatures.keySet().toArray(new String[0]);
    }

    public String[] getSignatureInputs(String key) {
        return signatures.get(key).inputs.keySet().toArray(new String[0]);
    }

    public String[] getSignatureOutputs(String key) {
        return signatures.get(key).outputs.keySet().toArray(new String[0]);
    }

    public Tensor getInputTensorFromSignature(String name, String key) {
        return signatures.get(key).inputs.get(name);
    }

    public Tensor getOutputTensorFromSignature(String name, String key) {
        return signatures.get(key).outputs.get(name);
    }

    public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String key) {
        Signature signature = signatures.get(key);
        for (Map.Entry<String, Object> input : inputs.entrySet()) {
            ByteBuffer buffer = checked((ByteBuffer) input.getValue(), signature.inputs.get(input.getKey()));
            signature.inputs.get(input.getKey()).memory().put(buffer.duplicate());
        }
        check(TfLiteSignatureRunnerInvoke(signature.runner));
        for (Map.Entry<String, Object> output : outputs.entrySet()) {
            ByteBuffer buffer = checked((ByteBuffer) output.getValue(), signature.outputs.get(output.getKey()));
            buffer.put(signature.outputs.get(output.getKey()).memory()); // leaves it at its end, as the AAR does
        }
    }

    @Override
    public void close() {
        if (closed) return;
        closed = true;
        for (Signature signature : signatures.values()) TfLiteSignatureRunnerDelete(signature.runner);
        TfLiteInterpreterDelete(interpreter);
        TfLiteInterpreterOptionsDelete(options);
        TfLiteModelDelete(model);
    }

    private static ByteBuffer checked(ByteBuffer buffer, Memory tensor) {
        if (buffer.remaining() != tensor.numBytes()) {
            throw new IllegalArgumentException(tensor.name() + ": " + buffer.remaining() + " bytes, not " + tensor.numBytes());
        }
        return buffer;
    }

    private static void check(int status) {
        if (status != 0) throw new IllegalStateException("Internal error: TFLite status " + status);
    }

    private static final class Signature {
        final TfLiteSignatureRunner runner;
        final Map<String, Memory> inputs = new LinkedHashMap<>();
        final Map<String, Memory> outputs = new LinkedHashMap<>();

        Signature(TfLiteSignatureRunner runner) {
            this.runner = runner;
            check(TfLiteSignatureRunnerAllocateTensors(runner));
            for (int i = 0; i < TfLiteSignatureRunnerGetInputCount(runner); i++) {
                String name = TfLiteSignatureRunnerGetInputName(runner, i).getString();
                inputs.put(name, new Memory(TfLiteSignatureRunnerGetInputTensor(runner, name)));
            }
            for (int i = 0; i < TfLiteSignatureRunnerGetOutputCount(runner); i++) {
                String name = TfLiteSignatureRunnerGetOutputName(runner, i).getString();
                outputs.put(name, new Memory(TfLiteSignatureRunnerGetOutputTensor(runner, name)));
            }
        }
    }

    private static final class Memory implements Tensor {
        private final TfLiteTensor tensor;

        Memory(TfLiteTensor tensor) {
            this.tensor = tensor;
        }

        ByteBuffer memory() {
            return new BytePointer(TfLiteTensorData(tensor)).capacity(numBytes()).asByteBuffer();
        }

        @Override
        public DataType dataType() {
            int type = TfLiteTensorType(tensor);
            for (DataType known : DataType.values()) if (known.c() == type) return known;
            throw new IllegalArgumentException("DataType error: " + type);
        }

        @Override
        public int numDimensions() {
            return TfLiteTensorNumDims(tensor);
        }

        @Override
        public int numBytes() {
            return (int) TfLiteTensorByteSize(tensor);
        }

        @Override
        public int numElements() {
            int count = 1;
            for (int length : shape()) count *= length;
            return count;
        }

        @Override
        public int[] shape() {
            int[] shape = new int[numDimensions()];
            for (int i = 0; i < shape.length; i++) shape[i] = TfLiteTensorDim(tensor, i);
            return shape;
        }

        @Override
        public int[] shapeSignature() {
            return shape();
        }

        @Override
        public int index() {
            throw new UnsupportedOperationException();
        }

        @Override
        public String name() {
            return TfLiteTensorName(tensor).getString();
        }

        @Override
        public QuantizationParams quantizationParams() {
            TfLiteQuantizationParams found = TfLiteTensorQuantizationParams(tensor);
            return new QuantizationParams(found.scale(), found.zero_point());
        }

        @Override
        public ByteBuffer asReadOnlyBuffer() {
            return memory().asReadOnlyBuffer();
        }
    }
}
