package androidx.test.internal.runner.lifecycle;

import android.app.Activity;

import androidx.test.runner.lifecycle.*;

import java.util.*;

public final class ActivityLifecycleMonitorImpl implements ActivityLifecycleMonitor {
    private final List<ActivityLifecycleCallback> callbacks = new ArrayList<>();
    private final Map<Activity, Stage> stages = new WeakHashMap<>();

    public ActivityLifecycleMonitorImpl() {}

    @Override
    public synchronized void addLifecycleCallback(ActivityLifecycleCallback c) {
        callbacks.add(c);
    }

    @Override
    public synchronized void removeLifecycleCallback(ActivityLifecycleCallback c) {
        callbacks.remove(c);
    }

    @Override
    public synchronized Stage getLifecycleStageOf(Activity a) {
        Stage s = stages.get(a);
        if (s == null) throw new IllegalArgumentException("unknown activity " + a);
        return s;
    }

    @Override
    public synchronized Collection<Activity> getActivitiesInStage(Stage s) {
        List<Activity> l = new ArrayList<>();
        for (Map.Entry<Activity, Stage> e : stages.entrySet())
            if (e.getValue() == s) l.add(e.getKey());
        return l;
    }

    public synchronized void signalLifecycleChange(Stage s, Activity a) {
        stages.put(a, s);
        for (ActivityLifecycleCallback c : new ArrayList<>(callbacks))
            c.onActivityLifecycleChanged(a, s);
    }
}
