package com.example.tides;

import java.time.Duration;
import java.time.Instant;

/** High water of an ideal sea: every 12 hours, 25 minutes and 14 seconds. */
public record Tides(Instant highWater) {
    static final Duration PERIOD = Duration.ofHours(12).plusMinutes(25).plusSeconds(14);

    /** The first high water that is not before the given time. */
    public Instant next(Instant time) {
        long gone = Duration.between(highWater, time).toSeconds();
        long periods = -Math.floorDiv(-gone, PERIOD.toSeconds());
        return highWater.plus(PERIOD.multipliedBy(periods));
    }
}
