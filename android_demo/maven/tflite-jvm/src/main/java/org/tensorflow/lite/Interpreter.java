package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.tensorflowlite.BuiltinOpResolverWithXNNPACK;
import org.bytedeco.tensorflowlite.FlatBufferModel;
import org.bytedeco.tensorflowlite.InterpreterBuilder;
import org.bytedeco.tensorflowlite.SignatureRunner;
import org.bytedeco.tensorflowlite.StringVector;
import org.bytedeco.tensorflowlite.TfLiteTensor;

/**
 * What the app uses of the AAR's Interpreter, over a desktop TFLite, with XNNPACK, and with the AAR's own rules for
 * buffers: direct, of native order, exactly as large as the tensor.
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
    private final FlatBufferModel model;
    private final BuiltinOpResolverWithXNNPACK operators = new BuiltinOpResolverWithXNNPACK();
    private final org.bytedeco.tensorflowlite.Interpreter interpreter =
            new org.bytedeco.tensorflowlite.Interpreter((Pointer) null); // filled by the builder
    private final Map<String, Signature> signatures = new LinkedHashMap<>();

    public Interpreter(ByteBuffer content, Options chosen) {
        bytes = new BytePointer(content); // the model reads from it as long as it lives
        model = FlatBufferModel.BuildFromBuffer(bytes, content.remaining());
        if (model == null || model.isNull()) {
            throw new IllegalArgumentException("ByteBuffer is not a valid TensorFlow Lite model flatbuffer");
        }
        try (InterpreterBuilder builder = new InterpreterBuilder(model, operators)) {
            if (chosen.getNumThreads() > 0) check(builder.SetNumThreads(chosen.getNumThreads()));
            check(builder.apply(interpreter));
        }
        check(interpreter.AllocateTensors());
        StringVector keys = interpreter.signature_keys();
        for (long i = 0; i < keys.size(); i++) {
            String key = keys.get(i).getString();
            signatures.put(key, new Signature(interpreter.GetSignatureRunner(key)));
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
        check(signature.runner.Invoke());
        for (Map.Entry<String, Object> output : outputs.entrySet()) {
            ByteBuffer buffer = checked((ByteBuffer) output.getValue(), signature.outputs.get(output.getKey()));
            buffer.put(signature.outputs.get(output.getKey()).memory()); // leaves it at its end, as the AAR does
        }
    }

    @Override
    public void close() {
        interpreter.close();
        operators.close();
        model.close();
        bytes.close();
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
        final SignatureRunner runner;
        final Map<String, Memory> inputs = new LinkedHashMap<>();
        final Map<String, Memory> outputs = new LinkedHashMap<>();

        Signature(SignatureRunner runner) {
            this.runner = runner;
            check(runner.AllocateTensors());
            PointerPointer<?> taken = runner.input_names();
            for (int i = 0; i < runner.input_size(); i++) {
                inputs.put(taken.getString(i), new Memory(runner.input_tensor(taken.getString(i))));
            }
            PointerPointer<?> given = runner.output_names();
            for (int i = 0; i < runner.output_size(); i++) {
                outputs.put(given.getString(i), new Memory(runner.output_tensor(given.getString(i))));
            }
        }
    }

    private static final class Memory implements Tensor {
        private final TfLiteTensor tensor;

        Memory(TfLiteTensor tensor) {
            this.tensor = tensor;
        }

        ByteBuffer memory() {
            return new BytePointer(tensor.data().data()).capacity(numBytes()).asByteBuffer();
        }

        @Override
        public DataType dataType() {
            int type = tensor.type();
            for (DataType known : DataType.values()) if (known.c() == type) return known;
            throw new IllegalArgumentException("DataType error: " + type);
        }

        @Override
        public int numDimensions() {
            return tensor.dims().size();
        }

        @Override
        public int numBytes() {
            return (int) tensor.bytes();
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
            for (int i = 0; i < shape.length; i++) shape[i] = tensor.dims().data(i);
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
            return tensor.name().getString();
        }

        @Override
        public QuantizationParams quantizationParams() {
            return new QuantizationParams(tensor.params().scale(), tensor.params().zero_point());
        }

        @Override
        public ByteBuffer asReadOnlyBuffer() {
            return memory().asReadOnlyBuffer();
        }
    }
}
