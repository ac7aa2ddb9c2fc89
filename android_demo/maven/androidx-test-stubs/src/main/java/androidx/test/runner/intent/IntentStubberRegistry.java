package androidx.test.runner.intent;

public final class IntentStubberRegistry {
    private static IntentStubber stubber;

    private IntentStubberRegistry() {}

    public static boolean isLoaded() {
        return stubber != null;
    }

    public static IntentStubber getInstance() {
        return stubber;
    }

    public static void load(IntentStubber s) {
        stubber = s;
    }

    public static void reset() {
        stubber = null;
    }
}
