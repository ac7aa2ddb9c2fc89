package androidx.test.runner.lifecycle;

public final class ApplicationLifecycleMonitorRegistry {
    private static ApplicationLifecycleMonitor instance;

    private ApplicationLifecycleMonitorRegistry() {}

    public static ApplicationLifecycleMonitor getInstance() {
        if (instance == null) throw new IllegalStateException("none registered");
        return instance;
    }

    public static void registerInstance(ApplicationLifecycleMonitor m) {
        instance = m;
    }
}
