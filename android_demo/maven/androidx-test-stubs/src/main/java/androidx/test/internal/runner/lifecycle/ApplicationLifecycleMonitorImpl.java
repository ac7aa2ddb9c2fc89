package androidx.test.internal.runner.lifecycle;

import androidx.test.runner.lifecycle.*;

import java.util.*;

public final class ApplicationLifecycleMonitorImpl implements ApplicationLifecycleMonitor {
    private final List<ApplicationLifecycleCallback> callbacks = new ArrayList<>();

    public ApplicationLifecycleMonitorImpl() {}

    @Override
    public void addLifecycleCallback(ApplicationLifecycleCallback c) {
        callbacks.add(c);
    }

    @Override
    public void removeLifecycleCallback(ApplicationLifecycleCallback c) {
        callbacks.remove(c);
    }

    public void signalLifecycleChange(android.app.Application a, ApplicationStage s) {
        for (ApplicationLifecycleCallback c : new ArrayList<>(callbacks))
            c.onApplicationLifecycleChanged(a, s);
    }
}
